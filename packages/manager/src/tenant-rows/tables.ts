import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { quoteName, quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'
import { listTables, type ResolvedTables } from '@fastify-tenancy/postgres/tables'

import type { RowPlacement } from '../placement/tenant-placement.ts'

/** The facts about a table of a placement that concern its rows. */
export interface TransferTable {
  readonly name: string
  /**
   * By name, without the tenant column, whose value is the tenant's id, and without generated
   * columns.
   */
  readonly columns: readonly TableColumn[]
  /** The type has no length. A cast to a length would cut a longer id to another tenant's id. */
  readonly tenantColumn: { readonly name: string; readonly type: string } | undefined
  /** The primary key's columns except the tenant column; empty without a primary key. */
  readonly order: readonly string[]
  readonly keys: readonly TableKey[]
  readonly parents: readonly TransferForeignKey[]
  readonly isPartitioned: boolean
  /**
   * Whether a foreign key to this table has an `on delete` action other than `no action`. Deleting
   * a row then also deletes or changes other rows, or fails at once.
   */
  readonly isActedOn: boolean
}

export interface TableColumn {
  readonly name: string
  /** As PostgreSQL formats it: `character varying(20)`. */
  readonly type: string
  /** Whether its type, or its domain's base type, is json or jsonb. */
  readonly isJson: boolean
  /** Whether it has a collation, so that its order depends on the server. */
  readonly isText: boolean
  /** Whether `::text` returns the same text as the type's output function. */
  readonly isPlain: boolean
  /** Whether updates cannot set it: `generated always as identity`. */
  readonly isFixed: boolean
}

/** A unique or exclusion constraint, or a unique index. */
interface TableKey {
  readonly name: string
  readonly isPrimary: boolean
  readonly columns: readonly string[]
}

/** A foreign key to a table of the same placement. */
interface TransferForeignKey {
  readonly table: string
  readonly columns: readonly string[]
  readonly parentColumns: readonly string[]
  /** Whether each of its columns is `not null`. */
  readonly isRequired: boolean
}

// Partitions are read through their partitioned table, and tables of extensions contain no tenant
// data.
const own = `
  select c.relname::text as name
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> all($2)
    and not exists (
      select from pg_catalog.pg_depend
      where classid = 'pg_catalog.pg_class'::regclass and objid = c.oid and deptype = 'e'
    )`

// One JSON text per table, so that type parsers of the caller's driver cannot change it.
const facts = `
  select json_build_object('name', c.relname, 'isPartitioned', c.relkind = 'p',
    'isActedOn', exists (
      select from pg_catalog.pg_constraint f
      where f.confrelid = c.oid and f.contype = 'f' and f.confdeltype <> 'a'
    ),
    'columns', coalesce((select json_agg(json_build_object(
        'name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
        'base', pg_catalog.format_type(b.oid, -1),
        'isPlain', b.typnamespace = 'pg_catalog'::regnamespace and b.typname <> 'bpchar',
        'isText', a.attcollation <> 0, 'isGenerated', a.attgenerated <> '', 'isFixed', a.attidentity = 'a')
      order by a.attname collate "C")
      from pg_catalog.pg_attribute a
      cross join lateral (
        with recursive base as (
          select t.oid, t.typname, t.typnamespace, t.typtype, t.typbasetype
          from pg_catalog.pg_type t where t.oid = a.atttypid
          union all
          select t.oid, t.typname, t.typnamespace, t.typtype, t.typbasetype
          from pg_catalog.pg_type t join base on base.typtype = 'd' and t.oid = base.typbasetype
        ) select * from base where typtype <> 'd') b
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '[]'),
    'keys', coalesce((select json_agg(json_build_object(
        'name', k.relname, 'isPrimary', i.indisprimary, 'columns',
        (select coalesce(json_agg(a.attname order by place), '[]')
          from unnest(i.indkey::int2[]) with ordinality u (num, place)
          join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = u.num
          where place <= i.indnkeyatts))
      order by k.relname)
      from pg_catalog.pg_index i join pg_catalog.pg_class k on k.oid = i.indexrelid
      where i.indrelid = c.oid and (i.indisunique or i.indisexclusion)), '[]'),
    'parents', coalesce((select json_agg(json_build_object('table', p.relname,
        'columns', (
          select json_agg(a.attname order by place)
          from unnest(f.conkey) with ordinality u (num, place)
          join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = u.num
        ),
        'parentColumns', (
          select json_agg(a.attname order by place)
          from unnest(f.confkey) with ordinality u (num, place)
          join pg_catalog.pg_attribute a on a.attrelid = p.oid and a.attnum = u.num
        ),
        'isRequired', (
          select bool_and(a.attnotnull)
          from unnest(f.conkey) u (num)
          join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = u.num
        ))
      order by f.conname)
      from pg_catalog.pg_constraint f join pg_catalog.pg_class p on p.oid = f.confrelid
      where f.contype = 'f' and f.conrelid = c.oid and f.conparentid = 0
        and p.relnamespace = c.relnamespace), '[]'))::text as facts
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = $1 and c.relname = any($2) and c.relkind in ('r', 'p')
  order by c.relname collate "C"`

interface Facts extends Pick<TransferTable, 'name' | 'isPartitioned' | 'isActedOn' | 'keys' | 'parents'> {
  readonly columns:
    readonly (Omit<TableColumn, 'isJson'> & { readonly base: string; readonly isGenerated: boolean })[]
}

/**
 * Returns the tables of a placement by name: the listed ones for tenant tables, or all of the
 * schema if it belongs to the tenant.
 *
 * @throws FST_TENANCY_SETUP_INVALID if a listed table does not exist, or nothing identifies the
 *   tenant of its rows
 */
export async function readTables (
  client: SqlClient,
  placement: RowPlacement,
  listed: ResolvedTables
): Promise<TransferTable[]> {
  const { tenant, shared, global } = await listTables(client, listed)
  const names = placement.isShared
    ? Object.keys(tenant)
    : (await client.query<{ name: string }>(own, [placement.schema, [...shared, ...global]])).rows.map((
      { name }
    ) => name)
  const { rows } = await client.query<{ facts: string }>(facts, [placement.schema, names])
  const tables = rows.map(({ facts }) => JSON.parse(facts) as Facts).map(facts =>
    toTable(facts, tenant[facts.name] ?? listed.auto, new Set(names))
  )
  const missing = names.find(name => !tables.some(table => table.name === name))
  if (missing !== undefined)
    throw new SetupInvalidError(
      `there is no table '${missing}' in schema '${placement.schema}': ` +
        'create it, or remove it from options.tables'
    )
  if (placement.isShared) { for (const table of tables) rowsOf(placement, tables, table) }
  return tables
}

function toTable (
  { columns, keys, parents, ...rest }: Facts,
  column: string | undefined,
  names: ReadonlySet<string>
): TransferTable {
  const tenantColumn = columns.find(({ name }) => name === column)
  return {
    ...rest,
    keys,
    tenantColumn: tenantColumn && { name: tenantColumn.name, type: tenantColumn.base },
    columns: columns
      .filter(({ name, isGenerated }) => !isGenerated && name !== tenantColumn?.name)
      .map(({ name, type, base, isText, isPlain, isFixed }) => ({
        name,
        type,
        isText,
        isPlain,
        isFixed,
        isJson: base === 'json' || base === 'jsonb'
      })),
    order: keys.find(({ isPrimary }) => isPrimary)?.columns.filter(name => name !== tenantColumn?.name) ?? [],
    parents: parents.filter(({ table }) => names.has(table))
  }
}

/**
 * Returns the qualified table for `from`. `only` excludes inheriting tables, which are read as
 * tables of their own.
 */
export function fromOf (
  placement: RowPlacement,
  { name, isPartitioned }: Pick<TransferTable, 'name' | 'isPartitioned'>
): string {
  return `${isPartitioned ? '' : 'only '}${quoteName(placement.schema)}.${quoteName(name)}`
}

/**
 * Returns the condition under which the row `alias` of `table` belongs to the tenant; `true` in a
 * placement of its own.
 *
 * ```sql
 * notes."tenant_id" = '7f3c…'::uuid
 * -- and for a table without the column
 * exists (select from only "public"."projects" t1
 *   where t1."id" = t."project_id" and t1."tenant_id" = '7f3c…'::uuid)
 * ```
 *
 * @throws FST_TENANCY_SETUP_INVALID if nothing identifies the tenant of the rows
 */
export function rowsOf (
  placement: RowPlacement,
  tables: readonly TransferTable[],
  table: TransferTable,
  alias = 't',
  depth = 1
): string {
  if (!placement.isShared) return 'true'
  const { tenantColumn } = table
  if (tenantColumn !== undefined)
    return `${alias}.${quoteName(tenantColumn.name)} = ${quoteText(placement.tenant)}::${tenantColumn.type}`
  const key = table.parents.find(({ isRequired, table: parent }) => isRequired && parent !== table.name)
  const parent = tables.find(({ name }) => name === key?.table)
  if (key === undefined || parent === undefined || depth > tables.length) {
    throw new SetupInvalidError(
      `nothing identifies the tenant of rows of table '${table.name}': add the tenant column, ` +
        'or a foreign key that is not null to a table that has it'
    )
  }
  const inner = `t${depth}`
  const pairs = key.columns.map((column, index) =>
    `${inner}.${quoteName(key.parentColumns[index] ?? '')} = ${alias}.${quoteName(column)}`
  )
  return `exists (select from ${fromOf(placement, parent)} ${inner} where ${pairs.join(' and ')} and ${
    rowsOf(placement, tables, parent, inner, depth + 1)
  })`
}
