import type { Tenant } from '@fastify-tenancy/core'
import { sql } from 'kysely'

import type { Application, Database } from './application.ts'

/** A column as the catalog describes it. */
export interface CatalogColumn {
  readonly name: string
  /** `'uuid'`, `'text'`, `'int4'`, … */
  readonly type: string
  readonly length: number | null
  readonly labels: readonly string[] | null
  readonly isRequired: boolean
  readonly hasDefault: boolean
  readonly isGenerated: boolean
  readonly isKey: boolean
}

/** A foreign key of a table. */
interface Reference {
  readonly columns: readonly string[]
  readonly parent: string
  readonly parentColumns: readonly string[]
}

/** A tenant table that the kit tests. */
export interface Table {
  readonly name: string
  /** Undefined if each tenant has separate tables. */
  readonly tenantColumn: string | undefined
  /** Empty under strategy `row`, which lets no query read the catalog. */
  readonly columns: readonly CatalogColumn[]
  readonly references: readonly Reference[]
}

/**
 * Returns the tables to test, parents first.
 *
 * @param named the names in the options. @default those of the suite's options, or every table of
 * the tenant's own schema
 */
export async function readKitTables (
  app: Application,
  tenant: Tenant,
  named: readonly string[] | undefined
): Promise<Table[]> {
  const listed = app.hasDecorator('tenantDatabase') ? (await app.tenantDatabase.tables()).tenant : {}
  const isOwn = tenant.isolation === 'schema' || tenant.isolation === 'database'
  const names = named ?? (isOwn ? undefined : Object.keys(listed))
  if (names?.length === 0 || !app.hasDecorator('tenantDatabase')) return []
  const plain = (name: string): Table => ({
    name,
    tenantColumn: isOwn ? undefined : listed[name],
    columns: [],
    references: []
  })
  if (tenant.isolation === 'row') return (names ?? []).map(plain)
  const tables = await app.tenancy.run({ id: tenant.id }, ({ db }) => readCatalog(db, names))
  return parentsFirst(tables.map(table => ({ ...plain(table.name), ...table })))
}

async function readCatalog (
  db: Database,
  names: readonly string[] | undefined
): Promise<Pick<Table, 'name' | 'columns' | 'references'>[]> {
  const { rows } = await sql<Pick<Table, 'name' | 'columns' | 'references'>>`
    select c.relname::text as name,
      (select json_agg(json_build_object('name', a.attname, 'type', t.typname,
          'length', case when t.typname in ('varchar', 'bpchar') and a.atttypmod > 4 then a.atttypmod - 4 end,
          'labels', (select json_agg(e.enumlabel order by e.enumsortorder)
            from pg_catalog.pg_enum e where e.enumtypid = t.oid),
          'isRequired', a.attnotnull, 'hasDefault', a.atthasdef or a.attidentity <> '',
          'isGenerated', a.attgenerated <> '' or a.attidentity = 'a',
          'isKey', exists (select from pg_catalog.pg_index i
            where i.indrelid = c.oid and i.indisprimary and a.attnum = any (i.indkey)))
        order by a.attnum)
        from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
      coalesce((select json_agg(json_build_object('parent', p.relname,
          'columns', (select json_agg(a.attname order by u.place)
            from unnest(k.conkey) with ordinality u (num, place)
            join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.num),
          'parentColumns', (select json_agg(a.attname order by u.place)
            from unnest(k.confkey) with ordinality u (num, place)
            join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.num)))
        from pg_catalog.pg_constraint k join pg_catalog.pg_class p on p.oid = k.confrelid
        where k.conrelid = c.oid and k.contype = 'f'), '[]') as "references"
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relispartition and pg_catalog.pg_table_is_visible(c.oid)
      and n.nspname not in ('pg_catalog', 'tenancy')
      and (${names === undefined}::bool or c.relname = any (${names ?? []}::text[]))
      and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass
        and d.objid = c.oid and d.deptype = 'e')
    order by c.relname`.execute(db)
  const missing = names?.filter(name => !rows.some(row => row.name === name)) ?? []
  if (missing.length > 0)
    throw new Error(`there is no table ${missing.join(', ')}: remove it from options.tables`)
  return rows
}

function parentsFirst (tables: readonly Table[]): Table[] {
  const sorted: Table[] = []
  const visit = (table: Table, path: readonly Table[]): void => {
    if (sorted.includes(table) || path.includes(table)) return
    for (const { parent } of table.references) {
      const found = tables.find(({ name }) => name === parent)
      if (found !== undefined) visit(found, [...path, table])
    }
    sorted.push(table)
  }
  for (const table of tables) visit(table, [])
  return sorted
}

/** Returns the columns that identify a table's row within a tenant. */
export function primaryKeyOf (table: Table, row: Readonly<Record<string, unknown>>): string[] {
  const keys = table.columns.filter(({ isKey, name }) => isKey && name !== table.tenantColumn).map((
    { name }
  ) => name)
  if (keys.length > 0) return keys
  if ('id' in row) return ['id']
  const [first] = Object.keys(row).filter(name => name !== table.tenantColumn)
  return first === undefined ? [] : [first]
}
