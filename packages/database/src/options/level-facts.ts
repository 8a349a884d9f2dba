import { userOf, type ShardUrls, type LevelFacts, type DoctorLogins } from '@fastify-tenancy/postgres/doctor'
import { hasOwnLogins } from '@fastify-tenancy/postgres/placement'

import type { ResolvedDatabaseOptions } from './options.ts'

/**
 * Returns the facts about the logins of one shard, from the options. A URL with the application's
 * own user is not a separate login.
 *
 * @param user the application's user
 * @param globalTables the global tables of this shard; only the default shard has any
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
