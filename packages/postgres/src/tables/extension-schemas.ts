import { quoteName, quoteText, type SqlClient } from '../client/sql-client.ts'

/**
 * Returns SQL for a search path: a schema, then the schemas that hold extensions, then `pg_temp`.
 * So every strategy finds an extension's types, functions and operators, wherever it is installed.
 *
 * @param input the schemas of extensions. @default the schemas that the catalog names
 * @param isTableFree omits schemas with tables, so that a name which the first schema lacks finds
 * no table at all
 */
export function pathWithExtensions (schema: string, input?: readonly string[], isTableFree = false): string {
  return `pg_catalog.concat_ws(', ', ${quoteText(quoteName(schema))}, ${
    extensionSchemas(schema, input, isTableFree)
  }, 'pg_temp')`
}

function extensionSchemas (
  schema: string,
  input: readonly string[] | undefined,
  isTableFree: boolean
): string {
  const chosen = input === undefined
    ? 'exists (select from pg_catalog.pg_extension e where e.extnamespace = n.oid)'
    : `n.nspname in (${['', ...input].map(quoteText).join(', ')})`
  const free = isTableFree
    ? ' and not exists (select from pg_catalog.pg_class c where c.relnamespace = n.oid ' +
      "and c.relkind in ('r', 'p', 'v', 'm', 'f'))"
    : ''
  return `(select pg_catalog.string_agg(pg_catalog.quote_ident(n.nspname), ', ' order by n.nspname)
    from pg_catalog.pg_namespace n
    where n.nspname not in ('pg_catalog', ${
    quoteText(schema)
  }) and pg_catalog.has_schema_privilege(n.oid, 'usage') and ${chosen}${free})`
}

/** Returns the names of the schemas that hold extensions, or of those in `input` that exist. */
export async function readExtensionSchemas (client: SqlClient, input?: readonly string[]): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `
    select n.nspname::text as name from pg_catalog.pg_namespace n where n.nspname <> 'pg_catalog'
      and case when $1::text[] is null then exists (select from pg_catalog.pg_extension e
        where e.extnamespace = n.oid) else n.nspname = any($1) end
    order by 1`,
    [input ?? null]
  )
  return rows.map(({ name }) => name)
}
