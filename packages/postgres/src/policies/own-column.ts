import { quoteName, quoteText } from '../client/sql-client.ts'
import type { ResolvedTables } from '../tables/table-lists.ts'

/** The name of the check that refuses another tenant's id in a tenant's own tables. */
const ownTenantCheck = 'tenancy_own_tenant'

/**
 * Returns a statement for a tenant's own tables that have the tenant column, as the tenant tables
 * of the shared database do. It fills the column with the tenant's id and refuses any other id. So
 * one DDL serves every strategy, and a move changes no statement of the application. Idempotent.
 *
 * ```sql
 * alter table "tenant_7f3c"."notes" alter column "tenant_id" set default '7f3c…'::text,
 *   add constraint tenancy_own_tenant check ("tenant_id" = '7f3c…'::text)
 * ```
 *
 * @param schema the schema of the tables. Run the statement as their owner.
 */
export function addTenantColumns (
  schema: string,
  id: string,
  { tenant, shared, global, auto }: Pick<ResolvedTables, 'tenant' | 'shared' | 'global' | 'auto'>
): string {
  const body = `
declare
  found record;
  value text;
begin
  for found in
    select c.oid, c.relname, a.attname, t.typname, pg_catalog.pg_get_expr(d.adbin, d.adrelid) as filled,
      exists (select from pg_catalog.pg_constraint k
        where k.conrelid = c.oid and k.conname = '${ownTenantCheck}') as checked
    from pg_catalog.pg_class c
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      and a.attidentity = '' and a.attgenerated = ''
      and a.attname = coalesce(${quoteText(JSON.stringify(tenant))}::pg_catalog.json ->> c.relname::text, ${
    quoteText(auto ?? 'tenant_id')
  })
    join pg_catalog.pg_type t on t.oid = a.atttypid
      and t.typname in ('text', 'varchar', 'uuid', 'int4', 'int8')
    left join pg_catalog.pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = ${
    quoteText(quoteName(schema))
  }::pg_catalog.regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and c.relname::text not in (${['', ...shared, ...global].map(quoteText).join(', ')})
      and not exists (select from pg_catalog.pg_depend e
        where e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.objid = c.oid and e.deptype = 'e')
  loop
    value := pg_catalog.format('%L::pg_catalog.%I', ${quoteText(id)}, found.typname);
    if found.filled is null or pg_catalog.strpos(found.filled, ${quoteText(id)}) = 0 then
      execute pg_catalog.format('alter table %s alter column %I set default %s',
        found.oid::pg_catalog.regclass, found.attname, value);
    end if;
    if not found.checked then
      execute pg_catalog.format(
        'alter table %s add constraint ${ownTenantCheck} check (%I operator(pg_catalog.=) %s)',
        found.oid::pg_catalog.regclass, found.attname, value);
    end if;
  end loop;
end`
  return `do ${quoteText(body)}`
}
