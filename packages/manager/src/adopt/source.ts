import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { quoteName, quoteText, sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { parentKeys, type ParentKey, type ResolvedTables, type TableFacts,
  type TenantColumnType } from '@fastify-tenancy/postgres/tables'

import type { ResolvedAdoptionOptions } from '../context/adopt-options.ts'

/** The source of one table's tenant column. */
export interface BackfillSource {
  /** SQL over the table's columns, qualified with the table's own name, without a cast. */
  readonly expression: string
  /** The parent table, which must get its column first. */
  readonly parent?: string
  /** Columns of the foreign key to the parent. A row that changes them may change its tenant. */
  readonly keyColumns: readonly string[]
  /** The foreign key to the parent. */
  readonly key?: ParentKey
  /** Description for messages: `the tenant of projects, by project_id`. */
  readonly says: string
}

const types = { text: 'text', uuid: 'uuid', int4: 'int', int8: 'bigint' } as const

/** Returns the type of a tenant column by its name in the catalog; undefined for other types. */
export function columnType (name: string): TenantColumnType | undefined {
  return name in types ? types[name as keyof typeof types] : undefined
}

/**
 * Returns the source that the options name, or else the first `not null` foreign key to a tenant
 * table; undefined without both.
 *
 * ```sql
 * (select parent."tenant_id" from "public"."projects" parent where parent."id" = "tasks"."project_id")
 * ```
 *
 * @throws FST_TENANCY_SETUP_INVALID if the options name a parent without a foreign key to it
 */
export async function findSource (
  client: SqlClient,
  { backfill }: ResolvedAdoptionOptions,
  { schema, tenant }: ResolvedTables,
  table: string,
  facts: TableFacts
): Promise<BackfillSource | undefined> {
  const input = backfill[table]
  if (input === false) return undefined
  if (input !== undefined && 'value' in input)
    return { expression: quoteText(input.value), keyColumns: [], says: `tenant ${input.value}` }
  if (input !== undefined && 'sql' in input)
    return { expression: `(${input.sql})`, keyColumns: [], says: input.sql }
  const keys = await parentKeys(
    client,
    facts,
    schema,
    Object.keys(tenant).filter(name => backfill[name] !== false)
  )
  const key = input === undefined
    ? keys.find(({ isRequired }) => isRequired)
    : keys.find(({ parent }) => parent === `${quoteName(schema)}.${quoteName(input.parent)}`)
  if (key === undefined && input !== undefined && backfill[input.parent] === false)
    throw new SetupInvalidError(
      `options.adoption.backfill.${table} names '${input.parent}', which gets no tenant column because ` +
        `options.adoption.backfill.${input.parent} is false: remove that line, or use { sql }`
    )
  if (key === undefined && input !== undefined)
    throw new SetupInvalidError(
      `table '${table}' has no foreign key to '${input.parent}', which options.adoption.backfill.${table} ` +
        'names: use { sql } instead'
    )
  if (key === undefined) return undefined
  const parent = Object.keys(tenant).find(name => key.parent === `${quoteName(schema)}.${quoteName(name)}`) ??
    ''
  return {
    expression: throughKey(table, key, tenant[parent] ?? ''),
    parent,
    keyColumns: key.columns,
    key,
    says: `the tenant of ${parent}, by ${key.columns.join(', ')}`
  }
}

function throughKey (table: string, { parent, columns, parentColumns }: ParentKey, column: string): string {
  // The row is qualified by its table's name, so a table called `parent` needs another alias.
  const alias = table === 'parent' ? 'parent_row' : 'parent'
  const pairs = columns.map((name, index) =>
    `${alias}.${quoteName(parentColumns[index] ?? '')} = ${quoteName(table)}.${quoteName(name)}`
  )
  return `(select ${alias}.${quoteName(column)} from ${parent} ${alias} where ${pairs.join(' and ')})`
}

/**
 * Returns the type of an expression over the table; undefined if it needs one of `columns`, which
 * does not exist yet.
 *
 * @throws FST_TENANCY_SETUP_INVALID if it is not a type of tenant columns
 */
export async function expressionType (
  client: SqlClient,
  table: string,
  { name }: TableFacts,
  expression: string,
  columns: readonly string[]
): Promise<TenantColumnType | undefined> {
  const found = await client.query<{ type: string }>(`
    select t.typname::text as type from pg_catalog.pg_type t
    where t.oid = (select pg_catalog.pg_typeof((select ${expression} from ${name} ${
    quoteName(table)
  } limit 1)))`)
    .catch((error: unknown) => {
      // undefined_column. The message of insufficient_privilege is sufficient.
      if (sqlState(error) === '42703' && columns.some(column => expression.includes(column))) return undefined
      if (sqlState(error) === '42501') throw error
      throw new SetupInvalidError(
        `PostgreSQL refuses options.adoption.backfill.${table}: correct it, ` +
          'or set options.adoption.type if it needs a column that does not exist yet',
        { cause: error }
      )
    })
  if (found === undefined) return undefined
  const [row] = found.rows
  const type = columnType(row?.type ?? '')
  if (type === undefined)
    throw new SetupInvalidError(
      `options.adoption.backfill.${table} has type ${
        row?.type ?? 'none'
      }: cast it to text, uuid, int or bigint, or set options.adoption.type`
    )
  return type
}
