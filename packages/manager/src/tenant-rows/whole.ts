import type { SqlClient } from '@fastify-tenancy/postgres/client'

import type { RowPlacement } from '../placement/tenant-placement.ts'

const named = (relation: string): string =>
  `pg_catalog.format('%I.%I', (
      select nspname from pg_catalog.pg_namespace where oid = ${relation}.relnamespace
    ), ${relation}.relname)`

// Finds rows that a query on a placement's tables would miss, and tables that the login cannot
// read.
const problems = `
  with own as (select oid from pg_catalog.pg_namespace where nspname = $1),
  tabs as (
    select c.* from pg_catalog.pg_class c join own on own.oid = c.relnamespace where c.relname = any($2)
  )
  select text from (
    select 1 as place, tabs.relname, pg_catalog.format(
      'table %s has the child table %s by INHERITS, whose rows would be left out: '
        'list it in options.tables.tenant, or end the inheritance (alter table %2$s no inherit %1$s)',
      ${named('tabs')}, ${named('child')}) as text
    from tabs
    join pg_catalog.pg_inherits i on i.inhparent = tabs.oid
    join pg_catalog.pg_class child on child.oid = i.inhrelid
    where not child.relispartition and (child.relnamespace <> tabs.relnamespace or child.relname <> all($2))
    union all
    select 2, part.relname, pg_catalog.format(
      'table %s is a partition of %s, which is outside the tenant''s schema: '
        'detach it (alter table %2$s detach partition %1$s)',
      ${named('part')}, ${named('parent')})
    from own join pg_catalog.pg_class part on part.relnamespace = own.oid and part.relispartition
    join pg_catalog.pg_inherits i on i.inhrelid = part.oid
    join pg_catalog.pg_class parent on parent.oid = i.inhparent
    where not $3 and parent.relnamespace <> own.oid and part.relkind in ('r', 'p')
    union all
    select 3, tabs.relname, pg_catalog.format(
      'table %s belongs to role %I, which this login cannot become: alter table %1$s owner to %3$I', ${
  named('tabs')
}, owner.rolname, pg_catalog.pg_get_userbyid(suite.nspowner))
    from tabs
    join pg_catalog.pg_roles owner on owner.oid = tabs.relowner
    left join pg_catalog.pg_namespace suite on suite.nspname = 'tenancy'
    where not pg_catalog.pg_has_role(current_user, tabs.relowner, 'usage')
      and ($4 or not pg_catalog.has_table_privilege(tabs.oid, 'select'))
  ) found order by place, relname limit 1`

/**
 * Returns why the rows of a placement cannot all be read, or undefined if they can.
 *
 * @param isOwner whether the tables are also altered, which only their owner may do
 */
export async function wholeProblem (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly { readonly name: string }[],
  isOwner: boolean
): Promise<string | undefined> {
  const { rows: [row] } = await client.query<{ text: string }>(problems, [placement.schema,
    tables.map(({ name }) => name), placement.isShared, isOwner])
  return row?.text
}
