import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { readExtensionSchemas } from '@fastify-tenancy/postgres/tables'

import type { ManagerContext } from '../context/context.ts'

export interface Installed {
  readonly name: string
  readonly schema: string
  /** Whether it has types, operators or access methods, or a column's default uses it. */
  readonly isStructural: boolean
}

// undefined_object, undefined_function, invalid_schema_name: errors of a missing extension.
const missingCodes = new Set(['42704', '42883', '3F000'])

/**
 * Returns the schemas of the default shard's extensions. They are on the search path in a tenant's
 * own database, too, even if missing there.
 */
export async function extensionSchemas (
  { options: { tables }, shards }: ManagerContext
): Promise<readonly string[]> {
  return readExtensionSchemas(shards.get('default'), tables.extensionSchemas)
}

/** Returns extensions that the default shard has and a tenant's own database lacks. */
export async function missingExtensions (
  { shards }: ManagerContext,
  own: SqlClient
): Promise<readonly Installed[]> {
  const text = `
    select e.extname::text as name, n.nspname::text as schema, exists (
      select from pg_catalog.pg_depend d
      where d.refclassid = 'pg_catalog.pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e'
        and (d.classid in ('pg_catalog.pg_operator'::regclass, 'pg_catalog.pg_am'::regclass)
          or (d.classid = 'pg_catalog.pg_type'::regclass
            and exists (select from pg_catalog.pg_type t where t.oid = d.objid and t.typrelid = 0))
          or (d.classid = 'pg_catalog.pg_proc'::regclass and exists (select from pg_catalog.pg_depend u
            where u.classid = 'pg_catalog.pg_attrdef'::regclass
              and u.refclassid = d.classid and u.refobjid = d.objid)))) as "isStructural"
    from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace order by 1`
  const [{ rows: wanted }, { rows: there }] = [await shards.get('default').query<Installed>(text),
    await own.query<Installed>(text)]
  return wanted.filter(({ name, schema }) =>
    !there.some(other => other.name === name && other.schema === schema)
  )
}

/**
 * Returns the error of work in a tenant's own database. If missing extensions can be the cause, the
 * error names them.
 */
export async function explainMissing (
  context: ManagerContext,
  own: SqlClient,
  database: string,
  error: unknown
): Promise<unknown> {
  if (!missingCodes.has(sqlState(error) ?? '')) return error
  const missing = await missingExtensions(context, own).catch(() => [])
  if (missing.length === 0) return error
  const install = missing.map(({ name, schema }) => `create extension ${name} schema ${schema}`).join('; ')
  const why = error instanceof Error ? error.message : String(error)
  return new SetupInvalidError(
    `the tables of database '${database}' cannot be created (${why}), because it lacks extensions of the ` +
      `default shard: install them in template1, or in that database (${install}), then call again`,
    { cause: error }
  )
}
