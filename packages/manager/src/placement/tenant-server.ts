import type { Tenant } from '@fastify-tenancy/core'
import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { isEmbedded, openPool } from '@fastify-tenancy/postgres/client'
import { resolveTenantUrl } from '@fastify-tenancy/postgres/placement'
import type pg from 'pg'

import type { ManagerContext } from '../context/context.ts'
import { openManagerPool } from '../context/shard-pools.ts'

/** A tenant's own database: its login, and how the owner's login gets there. */
export interface TenantServer {
  readonly login: { readonly user: string; readonly password?: string }
  readonly name: string
  /** The owner's login, on the tenant's database. */
  readonly ownerUrl: string
  /** The owner's login, on another database of the same server. */
  readonly serverUrl: string
}

/** A tenant's own database on which nothing is made: an embedded one, or one that the options' function answered. */
export interface TenantServerPool {
  readonly pool: pg.Pool
  /** Whether it was opened here, for the caller to end. */
  readonly isOwn: boolean
}

/**
 * Where a tenant's own database is.
 *
 * @throws FST_TENANCY_SETUP_INVALID where the options do not say
 */
export async function tenantServer (
  tenant: Tenant,
  { options: { database }, shards }: Pick<ManagerContext, 'options' | 'shards'>
): Promise<TenantServer | TenantServerPool> {
  if (database.tenants === undefined) throw noTenants()
  const source = await resolveTenantUrl(tenant, database.tenants)
  if (typeof source !== 'string') return { pool: source, isOwn: false }
  if (isEmbedded(source)) return { pool: openPool(source), isOwn: true }
  const url = new URL(source)
  const { ownerUrl, url: appUrl } = shards.logins('default')
  const input = ownerUrl ?? appUrl
  if (typeof input !== 'string')
    throw new SetupInvalidError(
      'databases of tenants are made with the login of options.database.ownerUrl: give it'
    )
  const [owner, server] = [new URL(input), new URL(input)]
  const isSameServer = owner.host === url.host
  owner.hostname = server.hostname = url.hostname
  // Apart from the name: a host without a port would leave the owner's own.
  owner.port = server.port = url.port
  owner.pathname = url.pathname
  if (!isSameServer) server.pathname = '/postgres'
  const password = decodeURIComponent(url.password)
  return {
    login: { user: decodeURIComponent(url.username), ...(password !== '' && { password }) },
    name: decodeURIComponent(url.pathname.slice(1)),
    ownerUrl: owner.href,
    serverUrl: server.href
  }
}

/**
 * Whether a tenant's own database has a login that can be made, locked out and dropped. An embedded database has none,
 * and neither has one for which the options' function answered a pool.
 *
 * @throws FST_TENANCY_SETUP_INVALID where the options do not say where the database is
 */
export async function hasServer (
  tenant: Tenant,
  { options: { database } }: Pick<ManagerContext, 'options'>
): Promise<boolean> {
  if (database.tenants === undefined) throw noTenants()
  const source = await resolveTenantUrl(tenant, database.tenants)
  return typeof source === 'string' && !isEmbedded(source)
}

// A tenant that is locked out of, moved from or removed from a database that cannot be found would be neither.
function noTenants (): Error {
  return new SetupInvalidError(
    'the tenant has a database of its own, and options.database.tenants does not say where: add it to the configuration'
  )
}

/** Opens the owner's connections to a tenant's own database for as long as `work` takes. */
export async function withTenantDatabase<T> (
  tenant: Tenant,
  context: Pick<ManagerContext, 'options' | 'shards'>,
  work: (pool: pg.Pool) => Promise<T>
): Promise<T> {
  const server = await tenantServer(tenant, context)
  if (!('pool' in server)) return ended(openManagerPool(server.ownerUrl), work)
  return server.isOwn ? ended(server.pool, work) : work(server.pool)
}

/** Ends a pool when `work` has settled. */
export async function ended<T> (pool: pg.Pool, work: (pool: pg.Pool) => Promise<T>): Promise<T> {
  try {
    return await work(pool)
  } finally {
    await pool.end()
  }
}
