import { tenantConflict } from '@fastify-tenancy/core/errors'

import { inTransaction, quoteName, quoteText, type SqlClient } from '../client/sql-client.ts'
import { readSessionInfo, rolesOf } from '../roles/roles.ts'
import { ensureTenantRole } from '../roles/tenant-role.ts'
import { pathWithExtensions } from '../tables/extension-schemas.ts'

export interface TenantSchemaInput {
  readonly id: string
  readonly schema: string
  /** The login that may set the tenant's role; undefined for a superuser. */
  readonly login: string | undefined
  /**
   * Creates the tables. Called as the owner, with the schema as `search_path`, in the same
   * transaction.
   */
  readonly build: (client: SqlClient) => Promise<void>
}

/**
 * Creates a tenant's schema with its tables and its role. Atomic and idempotent.
 *
 * ```sql
 * create schema "tenant_7f3c" authorization "tenancy_owner_1f3a0c22";
 * grant usage on schema "tenant_7f3c" to "tenant_7f3c_1f3a0c22";
 * grant select, insert, update, delete on all tables in schema "tenant_7f3c"
 *   to "tenant_7f3c_1f3a0c22";
 * ```
 *
 * @param client one connection of a login that may set the owner role and create roles
 * @throws FST_TENANCY_TENANT_CONFLICT if the schema exists and is not this tenant's
 * @throws FST_TENANCY_SETUP_INVALID if the login may not create roles
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
    // A newly created schema has no migrations, so delete the ledger of an earlier schema of the
    // tenant.
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

/**
 * @throws FST_TENANCY_TENANT_CONFLICT if the schema is not this tenant's, or its name is too long
 */
export async function assertFree (client: SqlClient, id: string, schema: string): Promise<void> {
  if (Buffer.byteLength(schema) > 63)
    throw tenantConflict(
      "the name of the tenant's schema is longer than 63 bytes, and two such names could be one"
    )
  const { rows: [existing] } = await client.query<{ comment: string | null }>(
    `select pg_catalog.obj_description(oid, 'pg_namespace') as comment
    from pg_catalog.pg_namespace where nspname = $1`,
    [schema]
  )
  if (existing !== undefined && existing.comment !== commentOf(id))
    throw tenantConflict("there is a schema of the tenant's name already, and it is not this tenant's")
}

// Returns the comment that marks the schema as this tenant's.
function commentOf (id: string): string {
  return `fastify-tenancy: tenant ${id}`
}
