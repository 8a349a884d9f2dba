import { userOf, type ShardUrls, type LevelFacts, type DoctorLogins } from '@fastify-tenancy/postgres/doctor'
import { hasOwnLogins } from '@fastify-tenancy/postgres/placement'

import type { ResolvedDatabaseOptions } from './options.ts'

/**
 * Returns what the options say of the logins of one shard. A URL with the application's own user is
 * no login of its own.
 *
 * @param user the application's.
 * @param globalTables those of this shard: only the default one has any.
 */
export function levelFacts (
  options: ResolvedDatabaseOptions,
  urls: ShardUrls,
  user: string,
  globalTables: readonly string[]
): LevelFacts & { readonly logins: DoctorLogins } {
  const { database, isolation, rls } = options
  const other = (url: string | undefined): string | undefined => {
    const name = url === undefined ? undefined : userOf(url)
    return name === user ? undefined : name
  }
  const [tenantRoles, global, registry] = [other(urls.tenantRolesUrl), other(urls.globalUrl),
    other(urls.registryUrl)]
  return {
    hasRegistryLogin: registry !== undefined,
    hasSystemLogin: other(urls.systemUrl) !== undefined,
    hasOwnerLogin: other(urls.ownerUrl) !== undefined,
    isSigned: rls.secrets.length > 0,
    hasTenantLogins: isolation === 'database' && hasOwnLogins(database.tenants),
    isRewritten: isolation === 'row',
    hasTenantRoles: isolation === 'schema' || (isolation === 'rls' && rls.context === 'role'),
    hasGlobalTables: globalTables.length > 0,
    logins: {
      ...(tenantRoles !== undefined && { tenantRoles }),
      ...(global !== undefined && { global }),
      ...(registry !== undefined && { registry })
    }
  }
}
