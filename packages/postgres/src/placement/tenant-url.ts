import type { Tenant } from '@fastify-tenancy/core'
import type pg from 'pg'

import { SetupInvalidError } from '../errors.ts'
import { databaseNameOf } from './placement.ts'

/**
 * Where a tenant's own database is: what `tenants.url` answers, or what the registry names, decrypted. A name becomes
 * part of the template; a URL stands for itself.
 *
 * @throws FST_TENANCY_SETUP_INVALID, which never tells the URL
 */
export async function resolveTenantUrl (
  tenant: Tenant,
  { url, decrypt }: ResolvedTenantsOptions
): Promise<string | pg.Pool> {
  if (typeof url === 'function') {
    const source = await url(tenant)
    return typeof source === 'string' ? checked(source) : source
  }
  const stored = databaseNameOf(tenant)
  const named = tenant.placement.database === undefined || decrypt === undefined
    ? stored
    : await decrypt(stored, tenant)
  if (/^\w+:\/\//.test(named)) return checked(named)
  if (url === undefined)
    throw new SetupInvalidError(
      "the registry holds the name of a database, and options.database.tenants.url no template for it: give one such as 'postgres://user:password@host/{database}'"
    )
  return checked(url.replaceAll('{database}', encodeURIComponent(named)))
}

// Node's own error would hold the whole URL, and its password.
function checked (url: string): string {
  if (
    !/^(?:postgres|postgresql|pglite):\/\/./.test(url) || (!url.startsWith('pglite:') && !URL.canParse(url))
  ) {
    throw new SetupInvalidError("the URL of a tenant's database is not a valid postgres:// or pglite:// URL")
  }
  return url
}

/** The databases of tenants of strategy `database`. */
export interface TenantsOptions {
  /**
   * A template in which `{database}` stands for the name that the registry holds, or else `tenant_<id>`:
   * `postgres://{database}:secret@host/{database}`; or a function that answers a tenant's URL, or a pool that its caller closes.
   * May be left out where the registry holds a whole URL for each tenant.
   */
  readonly url?: string | ((tenant: Tenant) => string | pg.Pool | Promise<string | pg.Pool>)
  /** Reads what the registry holds as `placement.database`, where that is encrypted; answers a URL, or the name of a database. @default it is not */
  readonly decrypt?: (stored: string, tenant: Tenant) => string | Promise<string>
  /** `max`: connections per tenant. @default { max: 2 } */
  readonly pool?: { readonly max?: number }
  /** How many tenants may have a pool at once; the least recently used one ends for the next. @default 50 */
  readonly maxPools?: number
  /** How long an unused pool, and an unused connection, is kept. @default '5m' */
  readonly idle?: string
  /** The longest that opening a connection may take. @default '2s' */
  readonly connectTimeout?: string
}

export interface ResolvedTenantsOptions {
  readonly url: TenantsOptions['url']
  readonly decrypt: TenantsOptions['decrypt']
  readonly pool: { readonly max: number }
  readonly maxPools: number
  /** In milliseconds. */
  readonly idle: number
  /** In milliseconds. */
  readonly connectTimeout: number
}

/** Whether each tenant's database has a login of its own, as far as the options tell: a function, and the registry, are taken to give one. */
export function hasOwnLogins (tenants: ResolvedTenantsOptions | undefined): boolean {
  if (tenants === undefined) return false
  return typeof tenants.url !== 'string' || /^\w+:\/\/[^/@]*\{database\}[^/@]*@/.test(tenants.url)
}
