import { nameOfRelation, quoteName, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import { listTables } from './list-tables.ts'
import type { TenantColumnType, ParentKey } from './table-facts.ts'
import type { ResolvedTables } from './table-lists.ts'

/** A table as the catalog describes it. */
export interface TableFacts {
  readonly oid: number
  /** `"public"."projects"` */
  readonly name: string
  /** The table and, if it is partitioned, all its partitions. */
  readonly family: readonly string[]
  /**
   * Sequences that fill the table's columns: owned, or used by a default, also through functions.
   */
  readonly sequences: readonly string[]
  /**
   * The sequences among them that no table owns. Changing a table's owner does not change theirs.
   */
  readonly looseSequences: readonly string[]
  readonly policies: readonly string[]
  /** The extension that the table is a member of. */
  readonly extension: string | null
}

/** The tenant column of a table. */
interface ColumnFacts {
  readonly type: TenantColumnType
  /** `generated … as identity`: the column can have no other default. */
  readonly isIdentity: boolean
  /** Whether a valid index without a predicate has the column first. */
  readonly isIndexed: boolean
}

/**
 * Returns SQL for the sequences that tables draw from, as the CTE `drawn (tab, seq)`: owned
 * sequences, and sequences that a default uses according to the catalog, directly or through
 * functions whose parsed bodies the catalog keeps.
 *
 * @param tables SQL for the tables' oids
 */
export function drawnFrom (tables: string): string {
  return `with recursive used (tab, classid, objid) as (
      select a.adrelid, 'pg_catalog.pg_attrdef'::regclass::oid, a.oid from pg_catalog.pg_attrdef a
        where a.adrelid in (${tables})
      union
      select u.tab, d.refclassid, d.refobjid from used u
        join pg_catalog.pg_depend d on d.classid = u.classid and d.objid = u.objid
      where u.classid <> 'pg_catalog.pg_class'::regclass and (d.refclassid = 'pg_catalog.pg_proc'::regclass
        or (d.refclassid = 'pg_catalog.pg_class'::regclass and exists (select from pg_catalog.pg_class s
          where s.oid = d.refobjid and s.relkind = 'S')))
    ),
    drawn (tab, seq) as (
      select tab, objid from used where classid = 'pg_catalog.pg_class'::regclass
      union
      select d.refobjid, d.objid from pg_catalog.pg_depend d
        join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S'
      where d.refobjid in (${tables}) and d.refclassid = 'pg_catalog.pg_class'::regclass
        and d.classid = 'pg_catalog.pg_class'::regclass and d.deptype in ('a', 'i')
    )`
}

// Only sequences in the table's own schema: sequences of other schemas keep their owner and
// privileges.
const near = 'join pg_catalog.pg_class near on near.oid = drawn.seq and near.relnamespace = c.relnamespace'

/** @throws FST_TENANCY_SETUP_INVALID if the table does not exist, or the name is not a table's. */
export async function inspectTable (client: SqlClient, schema: string, table: string): Promise<TableFacts> {
  return inspectRelation(client, schema, table, ['r', 'p'])
}

/** {@link inspectTable} for a view. */
export async function inspectView (client: SqlClient, schema: string, view: string): Promise<TableFacts> {
  return inspectRelation(client, schema, view, ['v'])
}

async function inspectRelation (
  client: SqlClient,
  schema: string,
  table: string,
  kinds: readonly string[]
): Promise<TableFacts> {
  const { rows: [row] } = await client.query<
    {
      oid: number
      relkind: string
      relispartition: boolean
      family: string[]
      sequences: string[]
      loose: string[]
      policies: string[]
      extension: string | null
    }
  >(
    `
    ${
      drawnFrom(
        `select oid from pg_catalog.pg_class where relname = $2
          and relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)`
      )
    }
    select c.oid::int8::int, c.relkind, c.relispartition,
      array(select ${nameOfRelation('tree.relid')} from pg_catalog.pg_partition_tree(c.oid) tree) as family,
      array(select ${nameOfRelation('drawn.seq')} from drawn ${near}) as sequences,
      array(select ${
      nameOfRelation('drawn.seq')
    } from drawn ${near} where not exists (select from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = drawn.seq
          and d.refclassid = 'pg_catalog.pg_class'::regclass and d.deptype in ('a', 'i'))) as loose,
      array(select polname::text from pg_catalog.pg_policy where polrelid = c.oid
        order by polname) as policies,
      (select e.extname::text from pg_catalog.pg_depend d join pg_catalog.pg_extension e on e.oid = d.refobjid
        where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid
          and d.refclassid = 'pg_catalog.pg_extension'::regclass and d.deptype = 'e') as extension
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = $2`,
    [schema, table]
  )
  if (row === undefined)
    throw new SetupInvalidError(
      `there is no table '${table}' in schema '${schema}': ` +
        'create it first, or take it from options.tables'
    )
  if (!kinds.includes(row.relkind))
    throw new SetupInvalidError(
      `'${table}' is not a table: options.tables may name tables, and views with security_invoker`
    )
  if (row.relispartition)
    throw new SetupInvalidError(`'${table}' is a partition: name the table that it is part of`)
  const name = `${quoteName(schema)}.${quoteName(table)}`
  return {
    oid: row.oid,
    name,
    family: row.relkind === 'p' ? row.family : [name],
    sequences: row.sequences,
    looseSequences: row.loose,
    policies: row.policies,
    extension: row.extension
  }
}

const types: Readonly<Record<string, TenantColumnType>> = {
  text: 'text',
  uuid: 'uuid',
  int4: 'int',
  int8: 'bigint'
}

/** @throws FST_TENANCY_SETUP_INVALID if the column is missing, or cannot be a tenant column. */
export async function inspectTenantColumn (
  client: SqlClient,
  { oid, name }: TableFacts,
  column: string
): Promise<ColumnFacts> {
  const { rows: [row] } = await client.query<
    { type: string; nullable: boolean; identity: boolean; deterministic: boolean; indexed: boolean }
  >(
    `
    select t.typname as type, not a.attnotnull as nullable, a.attidentity <> '' as identity,
      coalesce((select collisdeterministic from pg_catalog.pg_collation where oid = a.attcollation),
        true) as deterministic,
      exists (select from pg_catalog.pg_index
        where indrelid = a.attrelid and indkey[0] = a.attnum and indpred is null and indisvalid) as indexed
    from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
    where a.attrelid = $1 and a.attname = $2 and a.attnum > 0 and not a.attisdropped`,
    [oid, column]
  )
  if (row === undefined)
    throw new SetupInvalidError(
      `table ${name} has no column '${column}': add it, ` +
        "or name the table's own tenant column in options.tables.tenant"
    )
  const type = types[row.type]
  if (type === undefined)
    throw new SetupInvalidError(
      `the tenant column '${column}' of ${name} must be of type text, uuid, int or bigint, ` +
        `and is ${row.type}`
    )
  if (row.nullable)
    throw new SetupInvalidError(
      `the tenant column '${column}' of ${name} may be null: fill it in, ` +
        `then alter table ${name} alter column ${quoteName(column)} set not null`
    )
  // With such a collation 'a' can equal 'A', and two tenants would share their rows.
  if (!row.deterministic)
    throw new SetupInvalidError(
      `the tenant column '${column}' of ${name} has a collation that takes different ids for equal: ` +
        'change its collation to "C"'
    )
  return { type, isIdentity: row.identity, isIndexed: row.indexed }
}

/** Whether a table has a column of this name. */
export async function hasColumn (client: SqlClient, { oid }: TableFacts, column: string): Promise<boolean> {
  const { rows } = await client.query(
    `select from pg_catalog.pg_attribute
    where attrelid = $1 and attname = $2 and attnum > 0 and not attisdropped`,
    [oid, column]
  )
  return rows.length > 0
}

/**
 * Returns a table's foreign keys to others of these tables, by name. Self-references prove
 * nothing.
 */
export async function parentKeys (
  client: SqlClient,
  { oid }: TableFacts,
  schema: string,
  parents: readonly string[]
): Promise<ParentKey[]> {
  const { rows } = await client.query<
    { parent: string; columns: string[]; parents: string[]; required: boolean }
  >(
    `
    select p.relname::text as parent,
      array(select a.attname::text from unnest(k.conkey) with ordinality u (num, place)
        join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.num
        order by place) as columns,
      array(select a.attname::text from unnest(k.confkey) with ordinality u (num, place)
        join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.num
        order by place) as parents,
      not exists (select from unnest(k.conkey) u (num)
        join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.num
        where not a.attnotnull) as required
    from pg_catalog.pg_constraint k
    join pg_catalog.pg_class p on p.oid = k.confrelid join pg_catalog.pg_namespace n on n.oid = p.relnamespace
    where k.contype = 'f' and k.conrelid = $1 and k.confrelid <> $1 and n.nspname = $2 and p.relname = any($3)
    order by k.conname`,
    [oid, schema, parents]
  )
  return rows.map(({ parent, columns, parents, required }) => ({
    parent: `${quoteName(schema)}.${quoteName(parent)}`,
    columns,
    parentColumns: parents,
    isRequired: required
  }))
}

/**
 * Returns the distinct types of the listed tables' tenant columns, without tables that do not
 * exist.
 */
export async function tenantColumnTypes (
  client: SqlClient,
  tables: ResolvedTables
): Promise<TenantColumnType[]> {
  const { schema, tenant } = await listTables(client, tables)
  const { rows } = await client.query<{ type: string }>(
    `
    select distinct t.typname as type
    from unnest($2::text[], $3::text[]) listed (table_name, column_name)
    join pg_catalog.pg_namespace n on n.nspname = $1
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = listed.table_name
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = listed.column_name
      and not a.attisdropped
    join pg_catalog.pg_type t on t.oid = a.atttypid`,
    [schema, Object.keys(tenant), Object.values(tenant)]
  )
  return rows.flatMap(({ type }) => types[type] ?? [])
}
