import { quoteName, quoteText } from '@fastify-tenancy/postgres/client'

import { lineOf, linesOf } from '../tenant-rows/lines.ts'
import { batch, eachBatch } from '../tenant-rows/load.ts'
import { fromOf, rowsOf, type TableColumn, type TransferTable } from '../tenant-rows/tables.ts'
import { streamed, type CopyEndpoint } from './copy-endpoints.ts'
import { NeedsFullCopyError } from './errors.ts'

/** Rows read from the source at once. Small, because each row may be large. */
const page = 100

/**
 * Returns the primary key's columns. Empty without a primary key, or if one of its columns is
 * generated from other columns.
 */
export function keyOf ({ order, columns }: Pick<TransferTable, 'order' | 'columns'>): readonly TableColumn[] {
  const key = order.map(name => columns.find(column => column.name === name)).filter(column =>
    column !== undefined
  )
  return key.length === order.length ? key : []
}

/**
 * Returns the condition under which the row `t` has a key of the source. `part` returns the text of
 * the n-th key column, from 0.
 *
 * @param like the source's table, if `table` is the target's. Their primary keys may have other
 *   columns or another order.
 */
export function hasKey (
  table: TransferTable,
  part: (index: number) => string,
  like: Pick<TransferTable, 'order' | 'columns'> = table
): string {
  return keyOf(like).map(({ name, type: own }, index) =>
    `t.${quoteName(name)} = (${part(index)})::${
      table.columns.find(column => column.name === name)?.type ?? own
    }`
  ).join(' and ')
}

/**
 * Fills `pg_temp.changed` in the target's session with the changes of the source since a snapshot.
 * For each changed row, it holds the key and the current line, or no line if the row was deleted. A
 * changed table without a primary key is staged with all of its lines.
 *
 * @returns the number of lines and keys by table
 * @throws NeedsFullCopyError if a table was truncated
 */
export async function stageChanges (
  from: CopyEndpoint,
  to: CopyEndpoint,
  seen: string
): Promise<Map<string, number>> {
  await to.client.query(
    `
    create temporary table changed (
      n int generated always as identity primary key, tab text not null, key text[], line text
    ) on commit drop`
  )
  const changes = `
    select distinct table_name as tab, key from tenancy.move_changes
    where tenant_id = ${quoteText(from.placement.tenant)} and xid >= pg_catalog.pg_snapshot_xmin(${
    quoteText(seen)
  }::pg_snapshot) and not pg_catalog.pg_visible_in_snapshot(xid, ${quoteText(seen)}::pg_snapshot)`
  if (from.client === to.client) await to.client.query(`insert into pg_temp.changed (tab, key) ${changes}`)
  else {
    await eachBatch(
      streamed(from.client, `select pg_catalog.row_to_json(c)::text as line from (${changes}) c`),
      () => {},
      lines =>
        to.client.query(
          `
      insert into pg_temp.changed (tab, key)
      select r.tab, r.key
      from ${batch} lines (line), pg_catalog.json_to_record(lines.line::json) r (tab text, key text[])`,
          [lines]
        )
    )
  }
  const { rows: whole } = await to.client.query<{ tab: string }>(
    'delete from pg_temp.changed where key is null returning tab'
  )
  for (const table of from.tables.filter(({ name }) => whole.some(({ tab }) => tab === name))) {
    if (keyOf(table).length > 0) throw new NeedsFullCopyError(`table '${table.name}' was truncated`)
    await stageTable(from, to, table)
  }
  await stageRows(from, to)
  const { rows } = await to.client.query<{ tab: string; count: number }>(
    'select tab, count(*)::int as count from pg_temp.changed group by tab'
  )
  // A truncated table without rows has no entry in `pg_temp.changed`, but must be applied, too.
  return new Map([...whole.map(({ tab }) => [tab, 0] as const), ...rows.map(({ tab, count }) =>
    [tab, count] as const
  )])
}

async function stageTable (from: CopyEndpoint, to: CopyEndpoint, table: TransferTable): Promise<void> {
  const lines = linesOf(from.placement, from.tables, table)
  const insert = (source: string): string =>
    `insert into pg_temp.changed (tab, line) select ${
      quoteText(table.name)
    }, line from ${source} lines (line)`
  if (from.client === to.client) await to.client.query(insert(`(${lines})`))
  else await eachBatch(streamed(from.client, lines), () => {}, text => to.client.query(insert(batch), [text]))
}

async function stageRows (from: CopyEndpoint, to: CopyEndpoint): Promise<void> {
  for (let last = 0;;) {
    const { rows } = await to.client.query<{ n: number; tab: string; key: string }>(
      `
      select n, tab, pg_catalog.array_to_json(key)::text as key
      from pg_temp.changed where n > $1 and key is not null order by n limit ${page}`,
      [last]
    )
    for (const table of from.tables) {
      const keys = rows.filter(({ tab }) => tab === table.name)
      if (keys.length === 0) continue
      const found = await from.client.query<{ n: number; line: string }>(
        `
        select k.n, ${lineOf(table)} as line
        from rows from (pg_catalog.unnest($1::int[]), pg_catalog.unnest($2::json[])) k (n, key) join ${
          fromOf(from.placement, table)
        } t on ${hasKey(table, index => `k.key->>${index}`)}
        where ${rowsOf(from.placement, from.tables, table)}`,
        [keys.map(({ n }) => n), keys.map(({ key }) => key)]
      )
      await to.client.query(
        `
        update pg_temp.changed c set line = r.line
        from rows from (pg_catalog.unnest($1::int[]), pg_catalog.unnest($2::text[])) r (n, line)
        where c.n = r.n`,
        [found.rows.map(({ n }) => n), found.rows.map(({ line }) => line)]
      )
    }
    if (rows.length < page) return
    last = rows.at(-1)?.n ?? last
  }
}
