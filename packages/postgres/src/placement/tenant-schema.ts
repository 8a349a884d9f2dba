import { tenantConflict } from '@fastify-tenancy/core'

import { inTransaction, quoteName, quoteText, type SqlClient } from '../client/sql-client.ts'
import { readSessionInfo, rolesOf } from '../roles/roles.ts'
import { ensureTenantRole } from '../roles/tenant-role.ts'
import { pathWithExtensions } from '../tables/extension-schemas.ts'

export interface TenantSchemaInput {
  readonly id: string
  readonly schema: string
  /** The login that is to become the tenant's role, where it is no superuser's. */
  readonly login: string | undefined
  /** Makes the tables: called as the owner, with the schema as `search_path`, in the transaction that makes the schema. */
  readonly build: (client: SqlClient) => Promise<void>
}

/**
 * Makes a tenant's schema with its tables and its role, all or nothing. Runs again without harm.
 *
 * ```sql
 * create schema "tenant_7f3c" authorization "tenancy_owner_1f3a0c22";
 * grant usage on schema "tenant_7f3c" to "tenant_7f3c_1f3a0c22";
 * grant select, insert, update, delete on all tables in schema "tenant_7f3c" to "tenant_7f3c_1f3a0c22";
 * ```
 *
 * @param client one connection of a login that may become the owner role and create roles.
 * @throws FST_TENANCY_TENANT_CONFLICT when there is such a schema already, and it is not this tenant's.
 * @throws FST_TENANCY_SETUP_INVALID when the login may not create roles
 */
export async function ensureTenantSchema (
  client: SqlClient,
  { id, schema, login, build }: TenantSchemaInput
): Promise<void> {
  const { database } = await readSessionInfo(client)
  const owner = quoteName(rolesOf(database).owner)
  const name = quoteName(schema)
  await inTransaction(client, async () => {
    await assertFree(client, id, schema)
    const role = quoteName(await ensureTenantRole(client, id, 'shared', login))
    // A schema that is made anew has seen no migration, whatever an earlier one of the tenant had.
    await client.query(`
      set local role ${owner};
      delete from tenancy.migration_ledger where tenant_id = ${
      quoteText(id)
    } and pg_catalog.to_regnamespace(${quoteText(name)}) is null;
      create schema if not exists ${name};
      comment on schema ${name} is ${quoteText(commentOf(id))};
      grant usage on schema ${name} to ${role};
      alter default privileges in schema ${name} grant select, insert, update, delete on tables to ${role};
      alter default privileges in schema ${name} grant usage on sequences to ${role};
      select pg_catalog.set_config('search_path', ${pathWithExtensions(schema)}, true)`)
    await build(client)
    await client.query(`
      set local role ${owner};
      grant select, insert, update, delete on all tables in schema ${name} to ${role};
      grant usage on all sequences in schema ${name} to ${role}`)
  })
}

/** @throws FST_TENANCY_TENANT_CONFLICT when a schema of this name is somebody else's, or the name would be cut by the server. */
export async function assertFree (client: SqlClient, id: string, schema: string): Promise<void> {
  if (Buffer.byteLength(schema) > 63)
    throw tenantConflict(
      "the name of the tenant's schema is longer than 63 bytes, and two such names could be one"
    )
  const { rows: [existing] } = await client.query<{ comment: string | null }>(
    "select pg_catalog.obj_description(oid, 'pg_namespace') as comment from pg_catalog.pg_namespace where nspname = $1",
    [schema]
  )
  if (existing !== undefined && existing.comment !== commentOf(id))
    throw tenantConflict("there is a schema of the tenant's name already, and it is not this tenant's")
}

// Whose schema this is, for whoever finds it there.
function commentOf (id: string): string {
  return `fastify-tenancy: tenant ${id}`
}
