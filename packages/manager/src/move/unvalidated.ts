import { quoteName } from '@fastify-tenancy/postgres/client'

import { fromOf, rowsOf } from '../tenant-rows/tables.ts'
import type { CopyEndpoint } from './copy-endpoints.ts'

interface Unvalidated {
  readonly table: string
  readonly name: string
  readonly kind: 'c' | 'f' | 'n'
  /** The expression of a check constraint. */
  readonly check: string | null
  readonly columns: readonly string[]
  readonly parent: string | null
  readonly parentColumns: readonly string[] | null
}

// The server quotes the names, because the parent may be in another schema.
const constraints = `
  select c.relname::text as table, k.conname::text as name, k.contype::text as kind,
    pg_catalog.pg_get_expr(k.conbin, k.conrelid) as check,
    array(
      select a.attname::text
      from unnest(k.conkey) with ordinality u (num, place)
      join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.num
      order by place
    ) as columns,
    (
      select pg_catalog.format('%I.%I', n.nspname, p.relname)
      from pg_catalog.pg_class p join pg_catalog.pg_namespace n on n.oid = p.relnamespace
      where p.oid = k.confrelid
    ) as parent,
    array(
      select a.attname::text
      from unnest(k.confkey) with ordinality u (num, place)
      join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.num
      order by place
    ) as "parentColumns"
  from pg_catalog.pg_constraint k
  join pg_catalog.pg_class c on c.oid = k.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = $1 and c.relname = any($2) and not k.convalidated and k.contype in ('c', 'f', 'n')
    and coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::bool, true)
  order by 1, 2`

/**
 * Returns which constraint that is NOT VALID is broken by rows of the tenant, or undefined. No
 * other placement would accept these rows.
 */
export async function unvalidatedProblem (
  { client, placement, tables }: CopyEndpoint
): Promise<string | undefined> {
  const { rows } = await client.query<Unvalidated>(constraints, [placement.schema, tables.map(({ name }) =>
    name
  )])
  for (const constraint of rows) {
    const table = tables.find(({ name }) => name === constraint.table)
    if (table === undefined) continue
    const { rows: [broken] } = await client.query(
      `select from ${fromOf(placement, table)} t where ${rowsOf(placement, tables, table)} and ${
        breaks(constraint)
      } limit 1`
    )
    if (broken !== undefined)
      return `rows of table '${constraint.table}' break its constraint '${constraint.name}', which is ` +
        'NOT VALID and rejects them as new rows: correct the rows, ' +
        'or drop the constraint in source and target'
  }
  return undefined
}

function breaks ({ kind, check, columns, parent, parentColumns }: Unvalidated): string {
  if (kind === 'n') return columns.map(name => `t.${quoteName(name)} is null`).join(' or ')
  if (kind === 'c') return `not (${check ?? 'true'})`
  const pairs = columns.map((name, index) =>
    `parent_row.${quoteName(parentColumns?.[index] ?? '')} = t.${quoteName(name)}`
  )
  return `${
    columns.map(name => `t.${quoteName(name)} is not null`).join(' and ')
  } and not exists (select from ${parent} parent_row where ${pairs.join(' and ')})`
}
