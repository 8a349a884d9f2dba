import type { Isolation, Tenant } from '@fastify-tenancy/core'

import type { ResolvedDatabaseOptions } from '../options/options.ts'

/**
 * The strategy of one tenant. In the registry on Postgres every tenant has one of its own. In any other, `'rls'` is
 * also what a tenant reads that names none: there it stands for the application's `isolation`.
 */
export function isolationOf (
  { isolation }: Tenant,
  options: Pick<ResolvedDatabaseOptions, 'isolation' | 'registry'>
): Isolation {
  return isolation === 'rls' && options.registry !== undefined ? options.isolation : isolation
}
