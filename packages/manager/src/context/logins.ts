import type { Login, Logins } from '@fastify-tenancy/postgres/roles'

import type { ShardPools } from './shard-pools.ts'

/** Returns user and password of each URL of the configuration; a pool that was passed has none. */
export function loginsOf (
  { url, tenantRolesUrl, globalUrl, registryUrl, systemUrl, ownerUrl }: ReturnType<ShardPools['logins']>
): Logins {
  const app = typeof url === 'string' ? loginOf(url) : undefined
  const [tenantRoles, global, registry, system, owner] = [tenantRolesUrl, globalUrl, registryUrl, systemUrl,
    ownerUrl]
    .map(input => input === undefined ? undefined : loginOf(input))
  return {
    ...(app && { app }),
    ...(tenantRoles && { tenantRoles }),
    ...(global && { global }),
    ...(registry && { registry }),
    ...(system && { system }),
    ...(owner && { owner })
  }
}

function loginOf (text: string): Login | undefined {
  const { protocol, username, password } = new URL(text)
  if (protocol === 'pglite:' || username === '') return undefined
  return {
    user: decodeURIComponent(username),
    ...(password !== '' && { password: decodeURIComponent(password) })
  }
}
