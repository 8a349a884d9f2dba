import { quoteName, quoteText, sqlState } from '@fastify-tenancy/postgres/client'

import { lineOf, linesOf } from '../tenant-rows/lines.ts'
import { insertFrom } from '../tenant-rows/load.ts'
import { fromOf, rowsOf } from '../tenant-rows/tables.ts'
import { changedRow, isKeyed, type TablePair } from './changed-row.ts'
import type { CopyEndpoint } from './copy-endpoints.ts'
import { NeedsFullCopyError } from './errors.ts'
import { updateInOrder } from './update-in-order.ts'

/**
 * Writes the changes of `pg_temp.changed` into the target, then compares the changed rows with the
 * source.
 *
 * Deletions and insertions are one statement, because PostgreSQL then checks foreign keys at its
 * end. `on delete` actions find no row, because each referring row was deleted or changed, too.
 *
 * ```sql
 * with d0 as (delete from only "public"."notes" t using pg_temp.changed c where … returning 1),
 * i0 as (
 *   insert into "public"."notes" as t (…)
 *   select … from pg_temp.changed where … and (select count(*) from d0) >= 0 …
 * )
 * select
 * ```
 */
export async function applyChanges (
  from: CopyEndpoint,
  to: CopyEndpoint,
  changes: ReadonlyMap<string, number>
): Promise<void> {
  const names = [...changes.keys()]
  const tables = to.tables.filter(({ name }) => names.includes(name)).map(table => ({
    table,
    like: from.tables.find(({ name }) => name === table.name) ?? table
  }))
  await to.client.query('analyze pg_temp.changed')
  const restore = await quietTriggers(to, changes)
  const parts = tables.flatMap((
    both,
    index
  ) => [`d${index} as (${deleteFrom(to, both)} returning 1)`,
    `i${index} as (${insertInto(to, both, index)})`]
  )
  const statement = `with ${parts.join(', ')} select`
  await to.client.query('savepoint changes')
  await to.client.query(statement).catch(async (error: unknown) => {
    if (!handsOver(error)) throw error
    await to.client.query('rollback to changes')
    for (const both of tables.filter(both => mustUpdateInPlace(both)))
      await to.client.query(updateInOrder(to, both))
    await to.client.query(statement)
  })
  if (restore !== '') await to.client.query(restore)
  for (const both of tables) {
    const { rows: [row] } = await to.client.query<{ count: number }>(differing(to, both))
    if (row?.count !== 0)
      throw new NeedsFullCopyError(`table '${both.table.name}' differs after the changes were applied`)
  }
}

/**
 * Most changes to apply while writes of other tenants queue. Above this, all rows are copied again,
 * because a full copy blocks no write.
 */
const most = 20_000

// unique_violation, exclusion_violation
function handsOver (error: unknown): boolean {
  return ['23505', '23P01'].includes(sqlState(error) ?? '')
}

// Whether deleting and re-inserting a row is impossible, because foreign keys refer to it with an
// `on delete` action or would refuse the deletion.
function mustUpdateInPlace (both: TablePair): boolean {
  return isKeyed(both) && both.table.isActedOn
}

// Deletes changed rows before they are inserted again, so that a unique value can pass from one row
// to another. Tables that must be updated in place only lose the rows that the source deleted.
function deleteFrom ({ placement, tables }: CopyEndpoint, both: TablePair): string {
  const { table } = both
  const mine = rowsOf(placement, tables, table)
  if (!isKeyed(both)) return `delete from ${fromOf(placement, table)} t where ${mine}`
  return `delete from ${fromOf(placement, table)} t using pg_temp.changed c where c.tab = ${
    quoteText(table.name)
  } and ${changedRow(both)} and ${mine}${mustUpdateInPlace(both) ? ' and c.line is null' : ''}`
}

function insertInto ({ placement, tables }: CopyEndpoint, both: TablePair, index: number): string {
  const { table } = both
  // `distinct`, because one key can be recorded in two spellings: 1 and 1.0, or a citext.
  const lines = `(select ${isKeyed(both) ? 'distinct ' : ''}c.line from pg_temp.changed c where c.tab = ${
    quoteText(table.name)
  } and c.line is not null and (select pg_catalog.count(*) from d${index}) >= 0)`
  if (!mustUpdateInPlace(both)) return insertFrom(placement, table, lines)
  const key = table.keys.find(({ isPrimary }) => isPrimary)?.columns ?? []
  const set = table.columns.filter(({ name, isFixed }) => !isFixed && !key.includes(name)).map(({ name }) =>
    `${quoteName(name)} = excluded.${quoteName(name)}`
  )
  // Another tenant's row with this key stays unchanged. The comparison then finds our row missing.
  const action = set.length === 0
    ? 'nothing'
    : `update set ${set.join(', ')} where ${rowsOf(placement, tables, table)}`
  return insertFrom(placement, table, lines, ` on conflict (${key.map(quoteName).join(', ')}) do ${action}`)
}

// Returns a query that counts the rows whose text differs from the line read in the source.
function differing ({ placement, tables }: CopyEndpoint, both: TablePair): string {
  const { table, like } = both
  const own = `c.tab = ${quoteText(table.name)}`
  if (isKeyed(both)) {
    return `
      select count(*)::int as count from pg_temp.changed c
      left join lateral (select ${lineOf(table, like)} as line from ${fromOf(placement, table)} t where ${
      changedRow(both)
    } and ${rowsOf(placement, tables, table)}) now on true
      where ${own} and c.line is distinct from now.line`
  }
  const [there, told] = [`select line from (${linesOf(placement, tables, table, like)}) lines`,
    `select c.line from pg_temp.changed c where ${own}`]
  return `select count(*)::int as count
    from ((${there} except all ${told}) union all (${told} except all ${there})) differing`
}

/**
 * Disables, until the end of the transaction, the user's update and delete triggers (such as
 * `updated_at = now()`), because they already ran in the source. Insert triggers run, as in every
 * copy.
 *
 * @returns the statement that enables them again
 */
async function quietTriggers (
  { client, placement }: CopyEndpoint,
  changes: ReadonlyMap<string, number>
): Promise<string> {
  const { rows } = await client.query<{ table: string; name: string; enabled: string }>(
    `
    select c.relname::text as table, t.tgname::text as name, t.tgenabled::text as enabled
    from pg_catalog.pg_trigger t
    join pg_catalog.pg_class c on c.oid = t.tgrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = any($2) and not t.tgisinternal
      and t.tgenabled in ('O', 'A') and t.tgtype & 24 <> 0
      and t.tgfoid is distinct from pg_catalog.to_regprocedure('tenancy.record_change()')`,
    [placement.schema, [...changes.keys()]]
  )
  const each = (action: (enabled: string) => string): string =>
    rows.map(({ table, name, enabled }) =>
      `alter table ${quoteName(placement.schema)}.${quoteName(table)} ${action(enabled)} trigger ${
        quoteName(name)
      }`
    ).join('; ')
  // In tenant tables, writes of other tenants queue behind this lock until the commit.
  if (
    rows.length > 0 && placement.isShared &&
    [...changes.values()].reduce((sum, count) => sum + count, 0) > most
  )
    throw new NeedsFullCopyError('writes of other tenants would be blocked for too long')
  if (rows.length > 0) await client.query(`set local lock_timeout = '500ms'; ${each(() => 'disable')}`)
  return each(enabled => enabled === 'A' ? 'enable always' : 'enable')
}
