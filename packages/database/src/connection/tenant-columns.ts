import type { SqlClient } from '@fastify-tenancy/postgres/client'
import type { ResolvedTables } from '@fastify-tenancy/postgres/tables'

import type { TenantColumns } from './tripwire.ts'
import { readOrigins, type Origin } from './view-origins.ts'

interface Relation {
  /** The tenant columns that were recognised by name. */
  readonly named: readonly number[]
  /** The view's columns that come from columns of other relations. */
  readonly origins: readonly Origin[]
}

/**
 * Reads the tenant columns of relations, by relation id as in RowDescription. A listed table has
 * its listed column; partitions and unlisted relations have the columns of that name. A view also
 * has columns that come, through any number of views, from a table's tenant column.
 *
 * @param only the relations to read, listed or not. @default the listed relations, and all in
 * tenants' schemas
 */
export async function readTenantColumns (
  client: SqlClient,
  tables: ResolvedTables,
  only?: readonly number[]
): Promise<TenantColumns> {
  const relations = await readRelations(client, tables, only)
  for (;;) {
    const missing = [...relations.values()].flatMap(({ origins }) => origins.map(({ relation }) => relation))
      .filter(relation => !relations.has(relation))
    if (missing.length === 0) break
    const found = await readRelations(client, tables, missing)
    // A relation that was dropped meanwhile gets an empty entry. Otherwise this loop would never
    // end.
    for (const relation of missing) relations.set(relation, found.get(relation) ?? { named: [], origins: [] })
    for (const [relation, facts] of found) relations.set(relation, facts)
  }
  const columns = new Map<number, readonly number[]>()
  const columnsOf = (relation: number): readonly number[] => {
    const known = columns.get(relation)
    if (known !== undefined) return known
    const { named, origins } = relations.get(relation) ?? { named: [], origins: [] }
    // Set early to end a recursion: a view that was recreated during the read may seem to read
    // itself.
    columns.set(relation, named)
    const through = origins.filter(origin => columnsOf(origin.relation).includes(origin.column))
    const all = [...new Set([...named, ...through.map(({ position }) => position)])]
    columns.set(relation, all)
    return all
  }
  for (const relation of relations.keys()) columnsOf(relation)
  return columns
}

async function readRelations (
  client: SqlClient,
  { schema, tenant, shared, global, views, auto }: ResolvedTables,
  only?: readonly number[]
): Promise<Map<number, Relation>> {
  const columns = { ...tenant, ...views?.tenant }
  const { rows } = await client.query<
    { relation: unknown; named: string | null; listed: string | null; definition: string | null }
  >(
    `
    with listed (name, tenant) as (select * from unnest($2::text[], $3::text[])),
    -- If the tenant column is the table's own primary key, its name (such as "id") is common.
    -- Such a name does not mark a tenant column in other relations.
    names (name) as (
      select distinct listed.tenant::text from listed
      left join pg_catalog.pg_class c on c.relname = listed.name
        and c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
      where not exists (
        select from pg_catalog.pg_index i
        join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indrelid = c.oid and i.indisprimary and i.indnkeyatts = 1 and a.attname = listed.tenant)
      union select $6::text where $6::text is not null
    )
    select c.oid::int8::text as relation, listed.name as listed,
      (select pg_catalog.string_agg(a.attnum::text, ',') from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and case
          when listed.name is not null then a.attname = listed.tenant
          else not n.is_placement and not n.is_server
            and not (n.is_main and c.relkind in ('r', 'p') and c.relname = any($4))
            and a.attname in (select name from names) end) as named,
      case when c.relkind in ('v', 'm') and not n.is_placement and not n.is_server then
        (select ev_action::text from pg_catalog.pg_rewrite
          where ev_class = c.oid and rulename = '_RETURN') end as definition
    from pg_catalog.pg_class c
    join (
      select n.oid, n.nspname = $1 as is_main,
        n.nspname ~ '^(pg_|information_schema$|tenancy$)' as is_server,
        n.nspname ~ '^tenanth?_'
          or coalesce(d.description like 'fastify-tenancy: tenant _%', false) as is_placement
      from pg_catalog.pg_namespace n
      left join pg_catalog.pg_description d on d.objoid = n.oid
        and d.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
    ) n on n.oid = c.relnamespace
    left join pg_catalog.pg_class root
      on c.relispartition and root.oid = pg_catalog.pg_partition_root(c.oid)
    left join listed on listed.name = coalesce(root.relname, c.relname)
      and (n.is_main or n.is_placement or root.oid is not null)
    where case when $5::oid[] is null
      then c.relkind in ('r', 'p', 'v', 'm', 'f') and (n.is_placement
        or n.is_main and (c.relname in (select name from listed) or c.relname = any($4)))
      else c.oid = any($5) end`,
    [schema, Object.keys(columns), Object.values(columns), [...shared, ...global, ...(views?.shared ?? []),
      ...(views?.global ?? [])], only ?? null, auto ?? null]
  )
  // Converted here, because the pool's type parsers may differ.
  return new Map(rows.map(({ relation, named, listed, definition }) => {
    const origins = definition === null ? [] : readOrigins(definition)
    // If the origin of a view's column is known, the origin decides and the name does not.
    const isKnown = (position: number): boolean =>
      listed === null && origins.some(origin => origin.position === position)
    return [Number(relation), {
      named: (named?.split(',') ?? []).map(Number).filter(position => !isKnown(position)),
      origins
    }]
  }))
}
