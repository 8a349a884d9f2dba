import { tenantConflict } from '@fastify-tenancy/core/errors'
import { unreadyDatabase } from '@fastify-tenancy/core/keys'

import { quoteName, quoteText, sqlState, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import { ensureLogin } from '../roles/logins.ts'

export interface TenantDatabaseInput {
  readonly id: string
  readonly database: string
  /** The tenant's own login, created if it is missing. */
  readonly login: { readonly user: string; readonly password?: string }
}

/**
 * Creates a tenant's database and its login, the only login that may connect to it. Idempotent.
 *
 * ```sql
 * create role "tenant_7f3c" login noinherit password 'SCRAM-SHA-256$…';
 * create database "tenancy_making_9d2f…";
 * comment on database "tenancy_making_9d2f…" is 'fastify-tenancy: tenant 7f3c…';
 * revoke all on database "tenancy_making_9d2f…" from public;
 * grant connect on database "tenancy_making_9d2f…" to "tenant_7f3c";
 * alter database "tenancy_making_9d2f…" rename to "tenant_7f3c";
 * ```
 *
 * @param client one connection, to any database of the server, of a login with CREATEDB and
 * CREATEROLE
 * @throws FST_TENANCY_TENANT_CONFLICT if the database exists and is not this tenant's
 */
export async function ensureTenantDatabase (
  client: SqlClient,
  { id, database, login }: TenantDatabaseInput
): Promise<void> {
  if (Buffer.byteLength(database) > 63)
    throw tenantConflict(
      "the name of the tenant's database is longer than 63 bytes, and two such names could be one"
    )
  const comment = `fastify-tenancy: tenant ${id}`
  const { rows: [existing] } = await client.query<{ comment: string | null }>(
    `select pg_catalog.shobj_description(oid, 'pg_database') as comment
    from pg_catalog.pg_database where datname = $1`,
    [database]
  )
  if (existing !== undefined && existing.comment !== comment)
    throw tenantConflict("there is a database of the tenant's name already, and it is not this tenant's")
  try {
    await ensureLogin(client, login)
    if (existing !== undefined) return
    // `create database` refuses a transaction. The temporary name marks an incomplete database, so
    // a retry can drop it; a database under the final name is complete.
    const unready = quoteName(unreadyDatabase(database))
    await client.query(`drop database if exists ${unready}`)
    await client.query(`create database ${unready}`)
    await client.query(`
      comment on database ${unready} is ${quoteText(comment)};
      revoke all on database ${unready} from public;
      grant connect on database ${unready} to ${quoteName(login.user)};
      alter database ${unready} rename to ${quoteName(database)}`)
  } catch (error) {
    if (sqlState(error) !== '42501') throw error
    throw new SetupInvalidError(
      'the login of options.database.ownerUrl may not create databases and their logins: ' +
        'run `alter role <its user> createdb createrole` as a superuser',
      { cause: error }
    )
  }
}

/**
 * Grants the tenant's login the rows of all tables of the schema in its own database, including
 * tables that are created later.
 *
 * @param client one connection to that database, of the login that creates the tables
 */
export async function grantTenantDatabase (client: SqlClient, schema: string, user: string): Promise<void> {
  const [name, login] = [quoteName(schema), quoteName(user)]
  await client.query(`
    revoke create on schema ${name} from public;
    grant usage on schema ${name} to ${login};
    grant select, insert, update, delete on all tables in schema ${name} to ${login};
    grant usage on all sequences in schema ${name} to ${login};
    alter default privileges in schema ${name} grant select, insert, update, delete on tables to ${login};
    alter default privileges in schema ${name} grant usage on sequences to ${login}`)
}
