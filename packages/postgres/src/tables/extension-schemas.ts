import { quoteName, quoteText, type SqlClient } from '../client/sql-client.ts'

/**
 * SQL for a search path: a schema, then those that hold extensions, then `pg_temp`. So a type, function or operator of an extension is found in every
 * strategy alike, wherever it was installed.
 *
 * @param input the schemas of extensions. @default those that the catalog knows
 * @param isTableFree leaves out schemas that hold tables: a name that the first schema lacks then means no table at all
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
    ? " and not exists (select from pg_catalog.pg_class c where c.relnamespace = n.oid and c.relkind in ('r', 'p', 'v', 'm', 'f'))"
    : ''
  return `(select pg_catalog.string_agg(pg_catalog.quote_ident(n.nspname), ', ' order by n.nspname) from pg_catalog.pg_namespace n
    where n.nspname not in ('pg_catalog', ${
    quoteText(schema)
  }) and pg_catalog.has_schema_privilege(n.oid, 'usage') and ${chosen}${free})`
}

/** The schemas of a database that hold extensions, or those of `given` that are there, by name. */
export async function readExtensionSchemas (client: SqlClient, input?: readonly string[]): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `
    select n.nspname::text as name from pg_catalog.pg_namespace n where n.nspname <> 'pg_catalog'
      and case when $1::text[] is null then exists (select from pg_catalog.pg_extension e where e.extnamespace = n.oid) else n.nspname = any($1) end
    order by 1`,
    [input ?? null]
  )
  return rows.map(({ name }) => name)
}
