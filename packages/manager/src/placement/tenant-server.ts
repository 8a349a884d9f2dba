import type { Tenant } from '@fastify-tenancy/core'
import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { isEmbedded, openPool } from '@fastify-tenancy/postgres/client'
import { resolveTenantUrl } from '@fastify-tenancy/postgres/placement'
import type pg from 'pg'

import type { ManagerContext } from '../context/context.ts'
import { openManagerPool } from '../context/shard-pools.ts'

/** A tenant's own database: its login, and the URLs of the owner's login. */
export interface TenantServer {
  readonly login: { readonly user: string; readonly password?: string }
  readonly name: string
  /** URL of the owner's login to the tenant's database. */
  readonly ownerUrl: string
  /** URL of the owner's login to another database of this server. */
  readonly serverUrl: string
}

/**
 * A tenant's own database in which the manager creates no logins: an embedded one, or a pool that
 * the options' function returned.
 */
export interface TenantServerPool {
  readonly pool: pg.Pool
  /** Whether the manager opened the pool, so that the caller must end it. */
  readonly isOwn: boolean
}

/**
 * Returns the location of a tenant's own database.
 *
 * @throws FST_TENANCY_SETUP_INVALID if the options do not have it
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
      'databases of tenants are created with the login of options.database.ownerUrl: set it to a URL'
    )
  const [owner, server] = [new URL(input), new URL(input)]
  const isSameServer = owner.host === url.host
  owner.hostname = server.hostname = url.hostname
  // Assign hostname and port separately: assigning a host without a port would keep the owner's
  // port.
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
 * Whether a tenant's own database has a login that can be created, locked out and dropped. An
 * embedded database and a pool from the options' function have none.
 *
 * @throws FST_TENANCY_SETUP_INVALID if the options do not have the database's location
 */
export async function hasServer (
  tenant: Tenant,
  { options: { database } }: Pick<ManagerContext, 'options'>
): Promise<boolean> {
  if (database.tenants === undefined) throw noTenants()
  const source = await resolveTenantUrl(tenant, database.tenants)
  return typeof source === 'string' && !isEmbedded(source)
}

// Fails, because a tenant in an unknown database could be neither locked out nor moved nor removed.
function noTenants (): Error {
  return new SetupInvalidError(
    'the tenant has its own database, but options.database.tenants is not set: add it to the configuration'
  )
}

/** Runs `work` with the owner's connections to a tenant's own database. */
export async function withTenantDatabase<T> (
  tenant: Tenant,
  context: Pick<ManagerContext, 'options' | 'shards'>,
  work: (pool: pg.Pool) => Promise<T>
): Promise<T> {
  const server = await tenantServer(tenant, context)
  if (!('pool' in server)) return ended(openManagerPool(server.ownerUrl), work)
  return server.isOwn ? ended(server.pool, work) : work(server.pool)
}

/** Runs `work`, then ends the pool. */
export async function ended<T> (pool: pg.Pool, work: (pool: pg.Pool) => Promise<T>): Promise<T> {
  try {
    return await work(pool)
  } finally {
    await pool.end()
  }
}
