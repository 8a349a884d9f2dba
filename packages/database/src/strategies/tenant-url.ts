import type { Tenant } from '@fastify-tenancy/core'
import type pg from 'pg'

import { SetupInvalidError } from '../setup/errors.ts'
import type { ResolvedTenantsOptions } from './options.ts'
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
