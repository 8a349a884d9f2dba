import type { TenantRecord } from '@fastify-tenancy/core'
import { ensureTenantDatabase, ensureTenantRole, ensureTenantSchema, grantTenantDatabase, inTransaction, openPool, resolveTenantUrl, schemaOf, SetupInvalidError, type SqlClient } from '@fastify-tenancy/database'
import type pg from 'pg'

import type { ResolvedManagerOptions } from './options.ts'
import { openManagerPool, withClient, type ShardPools } from './shard-pools.ts'

/** Makes the tables of a tenant that has a schema or a database of its own. */
export type Provision = (input: { readonly tenant: TenantRecord, readonly client: SqlClient }) => Promise<void>

/** Whether a tenant needs anything made before it can be served. */
export function needsProvisioning ({ isolation }: Pick<TenantRecord, 'isolation'>, { rls }: ResolvedManagerOptions): boolean {
  return isolation === 'schema' || isolation === 'database' || (isolation === 'rls' && rls.context === 'role')
}

/** Makes what a tenant's strategy needs: its role, its schema or its database. Runs again without harm. */
export async function provisionTenant (tenant: TenantRecord, options: ResolvedManagerOptions, shards: ShardPools, client: SqlClient): Promise<void> {
  if (tenant.isolation === 'database') return provisionDatabase(tenant, options, shards)
  const { shard } = tenant.placement
  const login = shards.user(shard)
  // The caller's connection is to the default shard, and may be the only one (PGlite).
  const onShard = <T>(work: (client: SqlClient) => Promise<T>): Promise<T> => shard === 'default' ? work(client) : withClient(shards.get(shard), work)
  if (tenant.isolation === 'rls') {
    await onShard(client => inTransaction(client, () => ensureTenantRole(client, tenant.id, 'app', login)))
  } else {
    await onShard(client => ensureTenantSchema(client, {
      id: tenant.id,
      schema: schemaOf(tenant),
      login,
      build: async client => options.provision?.({ tenant, client })
    }))
  }
}

async function provisionDatabase (tenant: TenantRecord, { database, tables, provision }: ResolvedManagerOptions, shards: ShardPools): Promise<void> {
  if (database.tenants === undefined) throw new SetupInvalidError('options.database.tenants does not say where tenants\' databases are: give it')
  const source = await resolveTenantUrl(tenant, database.tenants)
  const build = (pool: pg.Pool, after?: (client: SqlClient) => Promise<void>): Promise<void> => withClient(pool, client => inTransaction(client, async () => {
    await provision?.({ tenant, client })
    await after?.(client)
  }))
  // A pool of the caller's is to a database that is there.
  if (typeof source !== 'string') return build(source)
  if (source.startsWith('pglite:')) return ended(openPool(source), pool => build(pool))
  const { login, name, ownerUrl, serverUrl } = readTenantUrl(source, shards)
  await ended(openManagerPool(serverUrl), pool => withClient(pool, client => ensureTenantDatabase(client, { id: tenant.id, database: name, login })))
  await ended(openManagerPool(ownerUrl), pool => build(pool, client => grantTenantDatabase(client, tables.schema, login.user)))
}

/** The tenant's login and database, and where the owner's login goes to make them: the same user and password on the tenant's server. */
function readTenantUrl (text: string, shards: ShardPools): { login: { user: string, password?: string }, name: string, ownerUrl: string, serverUrl: string } {
  const tenant = new URL(text)
  const { ownerUrl, url } = shards.logins('default')
  const given = ownerUrl ?? url
  if (typeof given !== 'string') throw new SetupInvalidError('databases of tenants are made with the login of options.database.ownerUrl: give it')
  const [owner, server] = [new URL(given), new URL(given)]
  const isSameServer = owner.host === tenant.host
  owner.host = server.host = tenant.host
  owner.pathname = tenant.pathname
  if (!isSameServer) server.pathname = '/postgres'
  const password = decodeURIComponent(tenant.password)
  return {
    login: { user: decodeURIComponent(tenant.username), ...(password !== '' && { password }) },
    name: decodeURIComponent(tenant.pathname.slice(1)),
    ownerUrl: owner.href,
    serverUrl: server.href
  }
}

async function ended<T> (pool: pg.Pool, work: (pool: pg.Pool) => Promise<T>): Promise<T> {
  try {
    return await work(pool)
  } finally {
    await pool.end()
  }
}
