import { QueryRefusedError } from '../options/errors.ts'

/**
 * Refuses a query of a rewritten handle.
 *
 * @param construct the refused part, in terms of Kysely's methods
 * @param why what cannot be proved
 * @param instead what to write instead
 * @throws FST_TENANCY_QUERY_REFUSED
 */
export function refuse (construct: string, why: string, instead: string): never {
  throw new QueryRefusedError(`This tenant's handle refuses ${construct}: ${why}; ${instead}`)
}

/**
 * Refuses a node in a position where the grammar does not list it, because the default is to
 * refuse.
 */
export function refuseKind (kind: string, position: string): never {
  return refuse(
    `a ${kind} as ${position}`,
    'nothing is known of it that keeps it to the tenant',
    'write it with another method of Kysely, or run it through a tenant of strategy rls'
  )
}
