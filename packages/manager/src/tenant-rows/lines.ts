import { quoteName } from '@fastify-tenancy/postgres/client'

import type { RowPlacement } from '../placement/tenant-placement.ts'
import { fromOf, rowsOf, type TableColumn, type TransferTable } from './tables.ts'

/**
 * Returns a query for one tenant's rows of one table, one JSON line per row. Each value is
 * PostgreSQL's text output, or null, so digits, microseconds and array bounds are preserved.
 *
 * ```sql
 * select (
 *   select row_to_json(r.*)::text from (select t."body"::text as "body", t."id"::text as "id") r
 * ) as line
 * from only "public"."notes" t where t."tenant_id" = '7f3c…'::uuid order by t."id"
 * ```
 *
 * @param like table whose columns and order apply, to compare a source with a target. @default the
 *   table itself
 */
export function linesOf (
  placement: RowPlacement,
  tables: readonly TransferTable[],
  table: TransferTable,
  like: Pick<TransferTable, 'columns' | 'order'> = table
): string {
  const rows = `select ${lineOf(table, like)} as line from ${fromOf(placement, table)} t where ${
    rowsOf(placement, tables, table)
  }`
  const order = like.order.map(name => orderOf(name, table.columns))
  // Without a primary key, the lines themselves are sorted.
  return order.length > 0
    ? `${rows} order by ${order.join(', ')}`
    : `select line from (${rows}) lines order by line collate "C"`
}

/** Returns the SQL expression for the line of a row `t`. */
export function lineOf (table: TransferTable, like: Pick<TransferTable, 'columns'> = table): string {
  const values = like.columns.map(({ name }) => table.columns.find(column => column.name === name)).filter(
    column => column !== undefined
  )
  // `r.*`, because a bare `r` would refer to a column of that name.
  return `(select pg_catalog.row_to_json(r.*)::text from (select ${
    values.map(column => `${textOf(column)} as ${quoteName(column.name)}`).join(', ')
  }) r)`
}

// A cast to text may differ from the type's output: char(n) loses its trailing spaces, and a
// user-defined type may have its own cast.
function textOf ({ name, isPlain }: TableColumn): string {
  const column = `t.${quoteName(name)}`
  return isPlain
    ? `${column}::pg_catalog.text`
    : `case when ${column} is distinct from null then pg_catalog.format('%s', ${column}) end`
}

// Returns an order by bytes, which is the same on every server.
function orderOf (name: string, columns: readonly TableColumn[]): string {
  const isText = columns.find(column => column.name === name)?.isText
  return `t.${quoteName(name)}${isText ? ' collate "C"' : ''}`
}
