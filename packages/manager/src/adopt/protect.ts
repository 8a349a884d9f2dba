import { bool, checkOptions, nonEmptyString, oneOf } from '@fastify-tenancy/core/options'
import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { inTransaction, Script, sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { protect, protectTables, readBreaking, readObservations, readOldCode,
  type ProtectOptions } from '@fastify-tenancy/postgres/policies'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import { listTables, viewNames } from '@fastify-tenancy/postgres/tables'
import * as v from 'valibot'

import type { ResolvedAdoptionOptions } from '../context/adopt-options.ts'
import type { ManagerContext } from '../context/context.ts'
import { LockRetry } from '../context/lock-retry.ts'
import { onShards, setupEntries, type SetupInput, type SetupReport } from '../setup/init.ts'
import { disagreements } from './disagreements.ts'
import { prepare } from './prepare.ts'
import { enforced, observed, prepared, type Advanced } from './summary.ts'

/** Options of {@link Manager.protect}. */
export interface ProtectInput extends SetupInput {
  /** The tenant tables to work on. @default all of `options.tables.tenant` */
  readonly only?: readonly string[]
  /**
   * Stage of an adoption. `'prepare'` adds a filled, required and indexed tenant column to the
   * tables. `'observe'` restricts new code to its tenant and leaves legacy code alone; `'enforce'`
   * ends the access of legacy code. @default none: tables are protected at once, except observed
   * ones, which stay so
   */
  readonly stage?: 'prepare' | 'observe' | 'enforce'
  /** Whether `'enforce'` revokes tables from legacy code before its last day. @default false */
  readonly force?: boolean
}

/** A tenant table that legacy code still uses. */
export interface ObservedTable {
  readonly shard: string
  readonly table: string
  /** The roles of legacy code, each with its last day: `'2027-03-31'`. */
  readonly legacy: Readonly<Record<string, string>>
}

const schema = v.strictObject({
  ...setupEntries,
  only: v.optional(v.array(nonEmptyString, 'must be a list of tables')),
  stage: v.optional(oneOf('prepare', 'observe', 'enforce')),
  force: v.optional(bool)
}, 'must be an object')

export async function protectShards (context: ManagerContext, given: ProtectInput): Promise<SetupReport> {
  const { only, stage, force: isForced = false, ...input } = checkOptions(
    schema,
    given,
    'protect'
  ) as ProtectInput
  const { tables, rls, adoption } = context.options
  const options: ProtectOptions = {
    tables,
    signed: rls.secrets.length > 0,
    context: rls.context,
    only,
    isForced,
    legacy: adoption.legacy
  }
  const title = stage === undefined ? 'tenancy protect' : `tenancy protect --stage ${stage}`
  const work = (): Promise<SetupReport> =>
    onShards(context, title, input, async (client, shard) => {
      const onStep = (step: string, done?: number, total?: number): void => {
        context.options.progress?.({
          operation: stage ?? 'protect',
          step: shard === 'default' ? step : `${shard}: ${step}`,
          ...(done !== undefined && { done }),
          ...(total !== undefined && { total })
        })
      }
      if (stage === undefined) {
        await protect(client, options)
        return []
      }
      const isPrinted = client instanceof Script
      if (stage === 'prepare') {
        const { sources, tables: names } = await prepare(client, { tables, only, adoption, onStep })
        return [...sources, ...(isPrinted ? [] : [prepared(names)])]
      }
      const lockRetry = new LockRetry(client, {
        ...adoption,
        onWait: what => onStep(`${what}: waiting for its lock`)
      })
      const advanced = await advance(client, { ...options, stage }, adoption.backfill, lockRetry, onStep)
      return isPrinted
        ? advanced.broken
        : [...advanced.broken, (stage === 'observe' ? observed : enforced)(advanced)]
    })
  const all = stage === undefined
    ? work()
    : context.locks.hold(
      'tenancy protect',
      'another process is protecting the tables of this database: call again when it has ended',
      work
    )
  return all.catch((error: unknown) => {
    if (sqlState(error) !== '42501') throw error
    throw new SetupInvalidError(
      'this login may not change the tables: use a superuser, or a member of their owner and of the owner ' +
        'role (`tenancy init` makes its login a member)',
      { cause: error }
    )
  })
}

// Changes table by table, so that readers of one table do not wait for the lock of another.
// Finished tables stay changed after a failure.
async function advance (
  client: SqlClient,
  options: ProtectOptions,
  backfill: ResolvedAdoptionOptions['backfill'],
  lockRetry: LockRetry,
  onStep: (step: string) => void
): Promise<Advanced> {
  const tables = await listTables(client, options.tables)
  const views = viewNames(tables.views).filter(view => options.only?.includes(view) ?? true)
  const names = (options.only ?? Object.keys(tables.tenant)).filter(name => !views.includes(name))
  const old = await readOldCode(client, tables.schema, options.legacy)
  const broken = options.stage === 'enforce'
    ? await breaking(client, tables.schema, names.filter(name => old.has(name)), options)
    : []
  const ready = await withColumn(client, tables)
  const missing = names.find(name => !ready.includes(name) && backfill[name] !== false)
  if (missing !== undefined)
    throw new SetupInvalidError(
      `table '${missing}' has no tenant column: run \`tenancy protect ${missing} --stage prepare\`, ` +
        `or set options.adoption.backfill.${missing} to false if its rows take the tenant of their parents`
    )
  for (const sql of await disagreements(client, tables, ready))
    await lockRetry.run('the tables agree', sql, false)
  await lockRetry.end()
  for (const [index, table] of names.entries()) {
    const title = `${table}: ${options.stage ?? ''}`
    await lockRetry.attempt(title, () =>
      inTransaction(client, async () => {
        await client.query(`set local lock_timeout = '${lockRetry.lockTimeout}ms'`)
        await protectTables(client, {
          ...options,
          only: [table],
          enforced: options.stage === 'enforce' ? names.slice(0, index) : []
        })
      }))
    onStep(title)
  }
  if (views.length > 0) {
    await lockRetry.attempt('views', () =>
      inTransaction(client, async () => {
        await client.query(`set local lock_timeout = '${lockRetry.lockTimeout}ms'`)
        await protectTables(client, {
          ...options,
          only: views,
          enforced: options.stage === 'enforce' ? names : []
        })
      }))
  }
  const legacy = options.stage === 'observe'
    ? options.legacy ?? {}
    : Object.assign({}, ...names.map(name => old.get(name)?.legacy ?? {})) as Record<string, string>
  return { tables: names, legacy, broken }
}

// Checked before the first table is changed. Otherwise a view would start to fail in the middle of
// the work.
async function breaking (
  client: SqlClient,
  schema: string,
  names: readonly string[],
  { isForced }: ProtectOptions
): Promise<readonly string[]> {
  const { rows: [row] } = await client.query<{ name: string }>(
    'select pg_catalog.current_database()::text as name'
  )
  const found = await readBreaking(client, schema, names, rolesOf(row?.name ?? ''))
  const list = found.map(({ object, owner, advice }) => `${object} of '${owner}' (${advice})`)
  if (list.length > 0 && isForced !== true)
    throw new SetupInvalidError(
      `nothing was changed, because enforcing breaks objects that run with the privileges of their owner: ${
        list.join('; ')
      }: correct each, or pass --yes`
    )
  return list.map(broken => `no longer works: ${broken}`)
}

// Returns the tables with a tenant column. The others take the tenant of their parents, so they
// cannot disagree with them.
async function withColumn (
  client: SqlClient,
  { schema, tenant }: ProtectOptions['tables']
): Promise<string[]> {
  const { rows } = await client.query<{ table: string }>(
    `
    select listed.table_name as table from unnest($2::text[], $3::text[]) listed (table_name, column_name)
    join pg_catalog.pg_namespace n on n.nspname = $1
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = listed.table_name
    join pg_catalog.pg_attribute a
      on a.attrelid = c.oid and a.attname = listed.column_name and not a.attisdropped
    order by 1`,
    [schema, Object.keys(tenant), Object.values(tenant)]
  )
  return rows.map(({ table }) => table)
}

/** Returns the tables that legacy code still uses, on every shard. */
export async function listObserved (context: ManagerContext): Promise<readonly ObservedTable[]> {
  const found: ObservedTable[] = []
  for (const shard of context.shards.names) {
    const observations = await readObservations(context.shards.get(shard), context.options.tables.schema)
    for (const [table, { legacy }] of observations) found.push({ shard, table, legacy })
  }
  return found
}
