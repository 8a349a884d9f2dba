import { checkOptions, fn, nonEmptyString, reservedSlugs, type Isolation } from '@fastify-tenancy/core'
import { resolveDatabaseOptions, type ResolvedDatabaseOptions, type TenantDatabaseOptions } from '@fastify-tenancy/database'
import * as v from 'valibot'

import type { Provision } from './provision.ts'

/** Options of {@link createManager}: what the application itself is given. */
export interface ManagerOptions extends Pick<TenantDatabaseOptions, 'database' | 'isolation' | 'rls' | 'tables'> {
  /** Labels that no tenant may take. @default reservedSlugs of core */
  readonly reserved?: readonly string[]
  /**
   * Makes the tables of a new tenant of strategy `schema` or `database`, in one transaction with all the rest that it needs:
   * `client` is one connection of the owner's, on which names without a schema are the tenant's. May be called again for a tenant
   * whose creation was cut short. @default no tables are made
   */
  readonly provision?: Provision
}

/** {@link ManagerOptions}, checked, with defaults. */
export interface ResolvedManagerOptions extends Pick<ResolvedDatabaseOptions, 'database' | 'rls' | 'tables'> {
  readonly isolation: Isolation
  readonly reserved: readonly string[]
  readonly provision: Provision | undefined
}

const own = v.looseObject({
  reserved: v.optional(v.array(nonEmptyString, 'must be a list of labels'), [...reservedSlugs]),
  provision: v.optional(fn<Provision>())
})

/**
 * Checks the options and fills in defaults.
 *
 * @param name how the caller knows the object, for messages.
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveManagerOptions (given: unknown, name = 'options'): ResolvedManagerOptions {
  const { reserved, provision } = checkOptions(v.pipe(own, v.transform(({ reserved, provision }) => ({ reserved, provision }))), given, name)
  const { reserved: _, provision: __, ...rest } = given as ManagerOptions
  const { database, isolation, rls, tables } = resolveDatabaseOptions(rest, name)
  return Object.freeze({ database, rls, tables, reserved, provision, isolation })
}
