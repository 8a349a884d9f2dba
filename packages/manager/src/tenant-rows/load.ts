import { quoteName, quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'

import type { RowPlacement } from '../placement/tenant-placement.ts'
import { inOrder, isCircular } from './components.ts'
import { rowsOf, type TransferTable } from './tables.ts'

/** Source of a table's lines: a query in the same database, or a stream. */
export type LineSource = { readonly query: string } | { readonly lines: AsyncIterable<string> }

interface LoadInput {
  readonly placement: RowPlacement
  /** All tables of the placement. */
  readonly tables: readonly TransferTable[]
  /** Returns the lines of a table; undefined for a table that stays empty. */
  readonly sourceOf: (table: TransferTable) => LineSource | undefined
  /** Called with the number of rows so far. */
  readonly onRows?: (table: string, rows: number) => void
}

/**
 * Inserts lines into tables, each table after the tables that it refers to. Tables with circular
 * references are filled by one statement, because PostgreSQL checks foreign keys at the end of a
 * statement.
 *
 * ```sql
 * insert into "public"."notes" ("tenant_id", "body", "id") overriding system value
 * select '7f3c…'::uuid, r."body", r."id"
 * from unnest(string_to_array($1, e'\n')) lines (line),
 *   json_to_record(line::json) r ("body" text, "id" integer)
 * ```
 *
 * @param client in the caller's transaction
 */
export async function loadTables (
  client: SqlClient,
  { placement, tables, sourceOf, onRows = () => {} }: LoadInput
): Promise<void> {
  for (const group of inOrder(tables)) {
    const filled = group.flatMap(table => {
      const source = sourceOf(table)
      return source === undefined ? [] : [{ table, source }]
    })
    const inserts: string[] = []
    for (const { table, source } of filled) {
      const report = (rows: number): void => {
        onRows(table.name, rows)
      }
      if ('query' in source) inserts.push(insertFrom(placement, table, `(${source.query})`))
      else if (!isCircular(group))
        await eachBatch(
          source.lines,
          report,
          lines => client.query(insertFrom(placement, table, batch), [lines])
        )
      else inserts.push(insertFrom(placement, table, await stage(client, table, source.lines, report)))
    }
    if (inserts.length > 0)
      await client.query(
        inserts.length === 1
          ? inserts.join('')
          : `with ${inserts.map((text, index) => `t${index} as (${text})`).join(', ')} select`
      )
  }
}

/** SQL that splits a chunk, the statement's first parameter, into lines. */
export const batch = "pg_catalog.unnest(pg_catalog.string_to_array($1::text, e'\\n'))"

/**
 * Returns the statement that inserts rows from lines.
 *
 * @param lines what follows `from`, with one column
 * @param suffix end of the statement, in which the table is called `t`
 */
export function insertFrom (
  placement: RowPlacement,
  { name, columns, tenantColumn }: TransferTable,
  lines: string,
  suffix = ''
): string {
  // json_to_record parses text with the type's input function, but uses it unparsed for json and
  // jsonb. So such columns are read as text and cast.
  const record = columns.map(({ name, type, isJson }) => `${quoteName(name)} ${isJson ? 'text' : type}`)
  const values = columns.map(({ name, type, isJson }) => `r.${quoteName(name)}${isJson ? `::${type}` : ''}`)
  const targets = columns.map(({ name }) => quoteName(name))
  if (tenantColumn !== undefined) {
    targets.unshift(quoteName(tenantColumn.name))
    values.unshift(`${quoteText(placement.tenant)}::${tenantColumn.type}`)
  }
  const from = record.length === 0
    ? ''
    : `, pg_catalog.json_to_record(lines.line::json) r (${record.join(', ')})`
  const into = `insert into ${quoteName(placement.schema)}.${quoteName(name)} as t`
  // A table without columns can have rows, too.
  return `${into}${targets.length === 0 ? '' : ` (${targets.join(', ')}) overriding system value`} select ${
    values.join(', ')
  } from ${lines} lines (line)${from}${suffix}`
}

async function stage (
  client: SqlClient,
  { name }: TransferTable,
  lines: AsyncIterable<string>,
  report: (rows: number) => void
): Promise<string> {
  const table = `pg_temp.${quoteName(name)}`
  await client.query(`create temporary table ${quoteName(name)} (line text) on commit drop`)
  await eachBatch(
    lines,
    report,
    text => client.query(`insert into ${table} select line from ${batch} lines (line)`, [text])
  )
  return table
}

/** Most lines and characters of one statement. */
const longest = { lines: 1_000, characters: 100_000 }

/** Sends lines in chunks, joined by line ends. */
export async function eachBatch (
  lines: AsyncIterable<string>,
  report: (rows: number) => void,
  send: (text: string) => Promise<unknown>
): Promise<void> {
  let pending: string[] = []
  let size = 0
  let rows = 0
  const flush = async (): Promise<void> => {
    if (pending.length === 0) return
    await send(pending.join('\n'))
    rows += pending.length
    pending = []
    size = 0
    report(rows)
  }
  for await (const line of lines) {
    pending.push(line)
    size += line.length
    if (pending.length >= longest.lines || size >= longest.characters) await flush()
  }
  await flush()
}

/**
 * Returns a table with rows of the tenant that refer to another tenant's row. Foreign keys ignore
 * policies, so PostgreSQL does not prevent this.
 */
export async function findForeignParent (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly TransferTable[]
): Promise<string | undefined> {
  if (!placement.isShared) return undefined
  for (const table of tables) {
    for (const { table: name, columns, parentColumns } of table.parents) {
      const parent = tables.find(candidate => candidate.name === name)
      const isScoped = columns.some((column, index) =>
        column === table.tenantColumn?.name && parentColumns[index] === parent?.tenantColumn?.name
      )
      if (parent === undefined || isScoped) continue
      const pairs = columns.map((column, index) =>
        `p.${quoteName(parentColumns[index] ?? '')} = t.${quoteName(column)}`
      )
      const { rows } = await client.query(`
        select from ${quoteName(placement.schema)}.${quoteName(table.name)} t
        where ${rowsOf(placement, tables, table)} and ${
        columns.map(column => `t.${quoteName(column)} is not null`).join(' and ')
      }
          and not exists (select from ${quoteName(placement.schema)}.${quoteName(name)} p where ${
        pairs.join(' and ')
      } and ${rowsOf(placement, tables, parent, 'p')}) limit 1`)
      if (rows.length > 0) return table.name
    }
  }
  return undefined
}
