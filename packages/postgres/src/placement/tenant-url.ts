import type { Tenant } from '@fastify-tenancy/core'
import type pg from 'pg'

import { SetupInvalidError } from '../errors.ts'
import { databaseNameOf } from './placement.ts'

/**
 * Returns the URL of a tenant's own database: the result of `tenants.url`, or the decrypted text of
 * the registry. A name is put into the template; a URL is used as it is.
 *
 * @throws FST_TENANCY_SETUP_INVALID, which never contains the URL
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
      'the registry holds the name of a database, and options.database.tenants.url no template for it: ' +
        "set one such as 'postgres://user:password@host/{database}'"
    )
  return checked(url.replaceAll('{database}', encodeURIComponent(named)))
}

// Node's own error would contain the whole URL with its password.
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
   * A template such as `postgres://{database}:secret@host/{database}`. `{database}` stands for the
   * name in the registry, or for `tenant_<id>`. Or a function that returns a tenant's URL, or a
   * pool that the caller closes. Optional if the registry holds a whole URL for each tenant.
   */
  readonly url?: string | ((tenant: Tenant) => string | pg.Pool | Promise<string | pg.Pool>)
  /**
   * Decrypts the registry's `placement.database` to a URL or the name of a database.
   * @default the registry's text is not encrypted
   */
  readonly decrypt?: (stored: string, tenant: Tenant) => string | Promise<string>
  /** `max`: connections per tenant. @default { max: 2 } */
  readonly pool?: { readonly max?: number }
  /**
   * How many tenants may have a pool at once. Beyond it the least recently used pool ends.
   * @default 50
   */
  readonly maxPools?: number
  /** How long an unused pool and an unused connection are kept. @default '5m' */
  readonly idle?: string
  /** Longest time that opening a connection may take. @default '2s' */
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

/**
 * Whether each tenant's database has a login of its own, judged by the options. A URL function and
 * the registry count as having own logins.
 */
export function hasOwnLogins (tenants: ResolvedTenantsOptions | undefined): boolean {
  if (tenants === undefined) return false
  return typeof tenants.url !== 'string' || /^\w+:\/\/[^/@]*\{database\}[^/@]*@/.test(tenants.url)
}
