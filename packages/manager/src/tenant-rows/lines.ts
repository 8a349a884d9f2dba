import { quoteName } from '@fastify-tenancy/postgres/client'

import type { RowPlacement } from '../placement/tenant-placement.ts'
import { fromOf, rowsOf, type TableColumn, type TransferTable } from './tables.ts'

/**
 * The rows of one tenant in one table as lines of JSON, one row a line: each value is text as PostgreSQL writes it, or null.
 * So a number keeps all its digits, a timestamp its microseconds, and an array its bounds.
 *
 * ```sql
 * select (select row_to_json(r.*)::text from (select t."body"::text as "body", t."id"::text as "id") r) as line
 * from only "public"."notes" t where t."tenant_id" = '7f3c…'::uuid order by t."id"
 * ```
 *
 * @param like whose columns, and in whose order: of another home's table, to compare the two. @default the table's own
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
  // Without a primary key, the rows themselves give the order.
  return order.length > 0
    ? `${rows} order by ${order.join(', ')}`
    : `select line from (${rows}) lines order by line collate "C"`
}

/** The line of a row that is called `t`, as an expression. */
export function lineOf (table: TransferTable, like: Pick<TransferTable, 'columns'> = table): string {
  const values = like.columns.map(({ name }) => table.columns.find(column => column.name === name)).filter(
    column => column !== undefined
  )
  // `r.*`, because `r` alone would be a column of that name.
  return `(select pg_catalog.row_to_json(r.*)::text from (select ${
    values.map(column => `${textOf(column)} as ${quoteName(column.name)}`).join(', ')
  }) r)`
}

// A cast to text need not be what the type writes: char(n) loses its spaces, and a type of the user's may have a cast of its own.
function textOf ({ name, isPlain }: TableColumn): string {
  const column = `t.${quoteName(name)}`
  return isPlain
    ? `${column}::pg_catalog.text`
    : `case when ${column} is distinct from null then pg_catalog.format('%s', ${column}) end`
}

// In bytes, so that the order is the same on every server.
function orderOf (name: string, columns: readonly TableColumn[]): string {
  const isText = columns.find(column => column.name === name)?.isText
  return `t.${quoteName(name)}${isText ? ' collate "C"' : ''}`
}
