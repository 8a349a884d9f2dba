import type { Tenant, TenantRecord } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { unreadyDatabase } from '@fastify-tenancy/core/keys'
import { inTransaction, quoteName, sqlState, isDatabaseMissing,
  type SqlClient } from '@fastify-tenancy/postgres/client'
import { assertFree, hasOwnLogins, schemaOf } from '@fastify-tenancy/postgres/placement'

import type { ManagerContext } from '../context/context.ts'
import { openManagerPool, withClient } from '../context/shard-pools.ts'
import { endSessions } from '../lockouts/lockout.ts'
import { withPlacement, type TenantPlacement } from '../placement/tenant-placement.ts'
import { ended, hasServer, tenantServer, type TenantServer } from '../placement/tenant-server.ts'
import { dropSchemaObjects } from './drop-schema.ts'
import { assertRoleDroppable, dropOwned, roleOf } from './outside.ts'
import { removeRows, withGlobalTables } from './remove-rows.ts'

/**
 * Removes the data of a tenant from one of its placements: its rows in tenant tables, its schema,
 * or its database. Idempotent.
 *
 * ```sql
 * delete from only "public"."tasks" t where …      -- rls, row
 * drop table "tenant_7f3c"."tasks" cascade; … drop schema "tenant_7f3c" cascade   -- schema
 * drop database if exists "tenant_7f3c" with (force)
 * ```
 */
export async function removeData (context: ManagerContext, tenant: TenantPlacement): Promise<void> {
  if (tenant.isolation === 'schema') return dropSchema(context, tenant)
  if (tenant.isolation === 'database') return dropDatabase(context, tenant)
  await withPlacement(
    context,
    tenant,
    placement =>
      withClient(
        placement.pool,
        client =>
          removeRows(client, placement, { listed: context.options.tables, ...onRemoved(context, tenant) })
      )
  )
}

/** Removes a tenant's rows from global tables on every shard. */
export async function removeGlobalRows (context: ManagerContext, { id }: Pick<Tenant, 'id'>): Promise<void> {
  const { options: { tables }, shards } = context
  for (const shard of shards.names) {
    await withClient(shards.get(shard), async client => {
      const all = await withGlobalTables(client, tables)
      const global = Object.fromEntries(
        Object.entries(all.tenant).filter(([name]) => tables.global.includes(name))
      )
      if (Object.keys(global).length === 0) return
      await removeRows(
        client,
        { tenant: id, pool: shards.get(shard), schema: tables.schema, isShared: true },
        { listed: { ...all, tenant: global } }
      )
    })
  }
}

/** Removes the role or login of a tenant. Data that is kept loses its grants to it. */
export async function removeRole (context: ManagerContext, tenant: TenantRecord): Promise<void> {
  if (tenant.isolation === 'database') return removeLogin(context, tenant)
  await assertRoleDroppable(context, tenant)
  await withClient(
    context.shards.get(tenant.placement.shard),
    async client => dropRole(client, await roleOf(client, tenant.id))
  )
}

async function dropSchema (context: ManagerContext, tenant: TenantPlacement): Promise<void> {
  const schema = schemaOf(tenant)
  await withClient(context.shards.get(tenant.placement.shard), async client => {
    await assertFree(client, tenant.id, schema)
    await dropSchemaObjects(
      client,
      schema,
      done =>
        context.options.progress?.({ operation: 'purge', tenant: tenant.id, step: `schema ${schema}`, done })
    )
  })
}

async function dropDatabase (context: ManagerContext, tenant: TenantPlacement): Promise<void> {
  // An embedded database, or a pool of the application's: the manager may not drop it. Its tables
  // are emptied.
  if (!await hasServer(tenant as Tenant, context)) {
    await withPlacement(
      context,
      tenant,
      placement =>
        withClient(
          placement.pool,
          client =>
            removeRows(client, placement, { listed: context.options.tables, ...onRemoved(context, tenant) })
        )
    )
    return
  }
  const server = await tenantServer(tenant as Tenant, context)
  if ('pool' in server) return
  await ended(openManagerPool(server.serverUrl), pool =>
    withClient(pool, async client => {
      const { rows: [database] } = await client.query<{ comment: string | null }>(
        `
        select pg_catalog.shobj_description(oid, 'pg_database') as comment
        from pg_catalog.pg_database where datname = $1`,
        [server.name]
      )
      // Left by an interrupted creation, before it was renamed.
      await client.query(`drop database if exists ${quoteName(unreadyDatabase(server.name))} with (force)`)
      if (database === undefined) return
      if (database.comment !== `fastify-tenancy: tenant ${tenant.id}`)
        throw tenantConflict(
          `the database '${server.name}' is not marked as this tenant's: ` +
            'check what it contains, drop it by hand, then call again'
        )
      await client.query(`drop database if exists ${quoteName(server.name)} with (force)`).catch(
        async (error: unknown) => {
          if (sqlState(error) !== '42501') throw error
          // A session of the tenant's login prevents the drop, and only members of its role may end
          // it. It may be terminating and not listed any more. Without `force`, PostgreSQL waits
          // for it.
          await endSessions(client, server.name, server.login.user)
          await client.query(`drop database if exists ${quoteName(server.name)}`)
        }
      )
    }))
}

// Keeps a login that other tenants or the application use.
async function removeLogin (context: ManagerContext, tenant: Tenant): Promise<void> {
  const { options: { database }, shards } = context
  if (!hasOwnLogins(database.tenants) || !await hasServer(tenant, context)) return
  const server = await tenantServer(tenant, context)
  if ('pool' in server) return
  const { login: { user } } = server
  if (shards.names.some(shard => usersOf(context, shard).includes(user))) return
  await onDatabase(server, client => dropLogin(client, user))
}

function usersOf ({ shards }: ManagerContext, shard: string): (string | undefined)[] {
  const { url: _, ...logins } = shards.logins(shard)
  return [shards.user(shard),
    ...Object.values(logins).map(url =>
      typeof url === 'string' && URL.canParse(url) ? decodeURIComponent(new URL(url).username) : undefined
    )]
}

// If the data was kept, the login's grants are in the tenant's database.
async function onDatabase (
  { ownerUrl, serverUrl }: TenantServer,
  work: (client: SqlClient) => Promise<void>
): Promise<void> {
  const run = (url: string): Promise<void> => ended(openManagerPool(url), pool => withClient(pool, work))
  await run(ownerUrl).catch((error: unknown) => {
    if (!isDatabaseMissing(error)) throw error
    return run(serverUrl)
  })
}

/**
 * Drops a login with its grants in this database. Idempotent. A login with privileges in another
 * database is kept, because it is used there, too.
 *
 * ```sql
 * drop owned by "tenant_7f3c"; drop role "tenant_7f3c"
 * ```
 */
async function dropLogin (client: SqlClient, role: string): Promise<void> {
  await dropRole(client, role).catch((error: unknown) => {
    if (sqlState(error) !== '2BP01') throw error
  })
}

async function dropRole (client: SqlClient, role: string): Promise<void> {
  const { rows: [row] } = await client.query<{ superuser: boolean }>(
    'select rolsuper as superuser from pg_catalog.pg_roles where rolname = $1',
    [role]
  )
  if (row === undefined || row.superuser) return
  await inTransaction(client, async () => {
    await dropOwned(client, role)
    await client.query(`drop role ${quoteName(role)}`)
  })
}

function onRemoved (
  { options: { progress } }: ManagerContext,
  { id }: TenantPlacement
): { onRemoved: (table: string, rows: number) => void } {
  return {
    onRemoved: (table, rows) => {
      progress?.({ operation: 'purge', tenant: id, step: `rows of ${table}`, done: rows })
    }
  }
}
