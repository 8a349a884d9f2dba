import { checkOptions, nonEmptyString, reservedSlugs, type Isolation } from '@fastify-tenancy/core'
import { resolveDatabaseOptions, type ResolvedDatabaseOptions, type TenantDatabaseOptions } from '@fastify-tenancy/database'
import * as v from 'valibot'

/** Options of {@link createManager}: what the application itself is given. */
export interface ManagerOptions extends Pick<TenantDatabaseOptions, 'database' | 'isolation' | 'rls' | 'tables'> {
  /** Labels that no tenant may take. @default reservedSlugs of core */
  readonly reserved?: readonly string[]
}

/** {@link ManagerOptions}, checked, with defaults. */
export interface ResolvedManagerOptions extends Pick<ResolvedDatabaseOptions, 'database' | 'rls' | 'tables'> {
  readonly isolation: Isolation
  readonly reserved: readonly string[]
}

const own = v.looseObject({ reserved: v.optional(v.array(nonEmptyString, 'must be a list of labels'), [...reservedSlugs]) })

/**
 * Checks the options and fills in defaults.
 *
 * @param name how the caller knows the object, for messages.
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveManagerOptions (given: unknown, name = 'options'): ResolvedManagerOptions {
  const { reserved } = checkOptions(v.pipe(own, v.transform(({ reserved }) => ({ reserved }))), given, name)
  const { reserved: _, ...rest } = given as ManagerOptions
  const { database, rls, tables } = resolveDatabaseOptions(rest, name)
  return Object.freeze({ database, rls, tables, reserved, isolation: rest.isolation ?? 'rls' })
}
