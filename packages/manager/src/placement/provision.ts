import type { TenantRecord } from '@fastify-tenancy/core'
import { inTransaction, quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'
import { databaseNameOf, ensureTenantDatabase, ensureTenantSchema, grantTenantDatabase,
  schemaOf } from '@fastify-tenancy/postgres/placement'
import { addTenantColumns } from '@fastify-tenancy/postgres/policies'
import { ensureTenantRole } from '@fastify-tenancy/postgres/roles'
import type pg from 'pg'

import type { ManagerContext } from '../context/context.ts'
import type { ResolvedManagerOptions } from '../context/options.ts'
import { openManagerPool, withClient } from '../context/shard-pools.ts'
import { explainMissing, extensionSchemas } from './extensions.ts'
import { ended, tenantServer } from './tenant-server.ts'

/** Whether objects must be created before a tenant can be served. */
export function needsProvisioning (
  { isolation }: Pick<TenantRecord, 'isolation'>,
  { rls }: ResolvedManagerOptions
): boolean {
  return isolation === 'schema' || isolation === 'database' || (isolation === 'rls' && rls.context === 'role')
}

/** Creates what a tenant's strategy needs: its role, schema or database. Idempotent. */
export async function provisionTenant (context: ManagerContext, tenant: TenantRecord): Promise<void> {
  if (!needsProvisioning(tenant, context.options)) return
  if (tenant.isolation === 'database') return provisionDatabase(context, tenant)
  const { options, shards } = context
  const { shard } = tenant.placement
  const login = shards.rolesUser(shard)
  await withClient(shards.get(shard), client =>
    tenant.isolation === 'rls'
      ? inTransaction(client, async () => {
        await ensureTenantRole(client, tenant.id, 'app', login)
      })
      : ensureTenantSchema(client, {
        id: tenant.id,
        schema: schemaOf(tenant),
        login,
        build: async client => {
          await options.provision?.({ tenant, client })
          await client.query(addTenantColumns(schemaOf(tenant), tenant.id, options.tables))
        }
      }))
}

async function provisionDatabase (context: ManagerContext, tenant: TenantRecord): Promise<void> {
  const { provision, tables } = context.options
  const path = [tables.schema, ...await extensionSchemas(context)].filter((name, index, all) =>
    all.indexOf(name) === index
  ).map(quoteName).join(', ')
  const build = (pool: pg.Pool, after?: (client: SqlClient) => Promise<void>): Promise<void> =>
    withClient(pool, client =>
      inTransaction(client, async () => {
        await client.query(`set local search_path = ${path}, pg_temp`)
        await provision?.({ tenant, client })
        await client.query(addTenantColumns(tables.schema, tenant.id, tables))
        await after?.(client)
      }).catch(async (error: unknown) => {
        throw await explainMissing(context, client, databaseNameOf(tenant), error)
      }))
  const server = await tenantServer(tenant, context)
  // The database of a pool that the application passed exists already.
  if ('pool' in server) return server.isOwn ? ended(server.pool, pool => build(pool)) : build(server.pool)
  const { login, name, ownerUrl, serverUrl } = server
  await ended(
    openManagerPool(serverUrl),
    pool => withClient(pool, client => ensureTenantDatabase(client, { id: tenant.id, database: name, login }))
  )
  await ended(
    openManagerPool(ownerUrl),
    pool => build(pool, client => grantTenantDatabase(client, tables.schema, login.user))
  )
}
