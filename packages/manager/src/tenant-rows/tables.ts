import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { quoteName, quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'
import { listTables, type ResolvedTables } from '@fastify-tenancy/postgres/tables'

import type { RowPlacement } from '../placement/tenant-placement.ts'

/** A table of a tenant's home, as far as its rows are concerned. */
export interface TransferTable {
  readonly name: string
  /** Without the tenant column, which says nothing that the tenant itself does not, and without generated ones. By name. */
  readonly columns: readonly TableColumn[]
  /** Its type without a length, to which a longer id would be cut: it would then be another tenant's. */
  readonly tenantColumn: { readonly name: string; readonly type: string } | undefined
  /** The columns of the primary key but the tenant column; empty where there is none. */
  readonly order: readonly string[]
  readonly keys: readonly TableKey[]
  readonly parents: readonly TransferForeignKey[]
  readonly isPartitioned: boolean
  /** Whether a row of it that is deleted takes others along, or is kept by them at once: a foreign key to it says more than `no action`. */
  readonly isActedOn: boolean
}

export interface TableColumn {
  readonly name: string
  /** As the server writes it: `character varying(20)`. */
  readonly type: string
  /** Whether its type, or that of its domain, is json or jsonb. */
  readonly isJson: boolean
  /** Whether it has a collation: its order then depends on the server. */
  readonly isText: boolean
  /** Whether `::text` gives what the type's output function does. */
  readonly isPlain: boolean
  /** Whether no update can give it a value: `generated always as identity`. */
  readonly isFixed: boolean
}

/** A unique or an exclusion constraint, or a unique index. */
export interface TableKey {
  readonly name: string
  readonly isPrimary: boolean
  readonly columns: readonly string[]
}

/** A foreign key to a table of the same home. */
export interface TransferForeignKey {
  readonly table: string
  readonly columns: readonly string[]
  readonly parentColumns: readonly string[]
  /** Whether each of its columns is `not null`. */
  readonly isRequired: boolean
}

// A partition's rows are read through the table that it is part of, and what an extension made is nobody's data.
const own = `
  select c.relname::text as name from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> all($2)
    and not exists (select from pg_catalog.pg_depend where classid = 'pg_catalog.pg_class'::regclass and objid = c.oid and deptype = 'e')`

// One text of JSON a table, which no type parser of the caller's driver changes.
const facts = `
  select json_build_object('name', c.relname, 'isPartitioned', c.relkind = 'p',
    'isActedOn', exists (select from pg_catalog.pg_constraint f where f.confrelid = c.oid and f.contype = 'f' and f.confdeltype <> 'a'),
    'columns', coalesce((select json_agg(json_build_object('name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
        'base', pg_catalog.format_type(b.oid, -1), 'isPlain', b.typnamespace = 'pg_catalog'::regnamespace and b.typname <> 'bpchar',
        'isText', a.attcollation <> 0, 'isGenerated', a.attgenerated <> '', 'isFixed', a.attidentity = 'a')
      order by a.attname collate "C")
      from pg_catalog.pg_attribute a
      cross join lateral (
        with recursive base as (
          select t.oid, t.typname, t.typnamespace, t.typtype, t.typbasetype from pg_catalog.pg_type t where t.oid = a.atttypid
          union all
          select t.oid, t.typname, t.typnamespace, t.typtype, t.typbasetype from pg_catalog.pg_type t join base on base.typtype = 'd' and t.oid = base.typbasetype
        ) select * from base where typtype <> 'd') b
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '[]'),
    'keys', coalesce((select json_agg(json_build_object('name', k.relname, 'isPrimary', i.indisprimary, 'columns',
        (select coalesce(json_agg(a.attname order by place), '[]') from unnest(i.indkey::int2[]) with ordinality u (num, place)
          join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = u.num where place <= i.indnkeyatts))
      order by k.relname)
      from pg_catalog.pg_index i join pg_catalog.pg_class k on k.oid = i.indexrelid
      where i.indrelid = c.oid and (i.indisunique or i.indisexclusion)), '[]'),
    'parents', coalesce((select json_agg(json_build_object('table', p.relname,
        'columns', (select json_agg(a.attname order by place) from unnest(f.conkey) with ordinality u (num, place) join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = u.num),
        'parentColumns', (select json_agg(a.attname order by place) from unnest(f.confkey) with ordinality u (num, place) join pg_catalog.pg_attribute a on a.attrelid = p.oid and a.attnum = u.num),
        'isRequired', (select bool_and(a.attnotnull) from unnest(f.conkey) u (num) join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = u.num))
      order by f.conname)
      from pg_catalog.pg_constraint f join pg_catalog.pg_class p on p.oid = f.confrelid
      where f.contype = 'f' and f.conrelid = c.oid and f.conparentid = 0 and p.relnamespace = c.relnamespace), '[]'))::text as facts
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = $1 and c.relname = any($2) and c.relkind in ('r', 'p')
  order by c.relname collate "C"`

interface Facts extends Pick<TransferTable, 'name' | 'isPartitioned' | 'isActedOn' | 'keys' | 'parents'> {
  readonly columns:
    readonly (Omit<TableColumn, 'isJson'> & { readonly base: string; readonly isGenerated: boolean })[]
}

/**
 * The tables of a tenant's home, by name: the listed ones where they are shared; all of its schema where that is the tenant's own.
 *
 * @throws FST_TENANCY_SETUP_INVALID when a listed table does not exist, or nothing says whose its rows are
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
      `there is no table '${missing}' in schema '${placement.schema}': create it first, or take it from options.tables`
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

/** The table with its schema, for `from`: without tables that inherit from it, which are tables of their own. */
export function fromOf (
  placement: RowPlacement,
  { name, isPartitioned }: Pick<TransferTable, 'name' | 'isPartitioned'>
): string {
  return `${isPartitioned ? '' : 'only '}${quoteName(placement.schema)}.${quoteName(name)}`
}

/**
 * The condition under which a row of `table`, called `alias`, is the tenant's; `true` in a home of its own.
 *
 * ```sql
 * notes."tenant_id" = '7f3c…'::uuid
 * -- and for a table without the column
 * exists (select from only "public"."projects" t1 where t1."id" = t."project_id" and t1."tenant_id" = '7f3c…'::uuid)
 * ```
 *
 * @throws FST_TENANCY_SETUP_INVALID when nothing says whose rows they are
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
      `nothing says whose the rows of table '${table.name}' are: give it the tenant column, or a foreign key that may not be null to a table that has it`
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
