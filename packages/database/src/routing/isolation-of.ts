import type { Isolation, Tenant } from '@fastify-tenancy/core'

import type { ResolvedDatabaseOptions } from '../options/options.ts'

/**
 * Returns the strategy of one tenant. With the registry on Postgres each tenant has an explicit
 * strategy. With another registry, `'rls'` is also the default of a tenant without one; it then
 * stands for the application's `isolation`.
 */
export function isolationOf (
  { isolation }: Tenant,
  options: Pick<ResolvedDatabaseOptions, 'isolation' | 'registry'>
): Isolation {
  return isolation === 'rls' && options.registry !== undefined ? options.isolation : isolation
}
