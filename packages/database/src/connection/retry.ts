import { isServerError } from '@fastify-tenancy/postgres/client'

import type { BatchEnd } from './batch-end.ts'

/**
 * The reason why a statement that did not run may succeed if it is parsed again:
 *
 * - `'lost'`: the server lost the prepared name, or holds another text under it
 * - `'changed'`: the catalog changed since the statement was parsed
 * - `'possible'`: a value did not fit its parameter; the parameter's type may have changed
 */
type Staleness = 'lost' | 'changed' | 'possible'

/**
 * Returns why a failed batch is stale; undefined if an earlier parse did not cause the failure.
 * PostgreSQL plans a prepared statement at Bind, with the parameter types of its Parse. So most of
 * these errors arrive before the statement ran.
 */
export function stalenessOf (
  { error, unbound, isEarly }: Pick<BatchEnd, 'error' | 'unbound' | 'isEarly'>
): Staleness | undefined {
  if (!isServerError(error)) return undefined
  const { code = '', routine } = error
  // TN410 from the context means that the catalog is newer than this process assumed. `isEarly`,
  // because a function of the application could raise TN410, too.
  if ((code === 'TN410' && isEarly) || (code === '0A000' && routine === 'RevalidateCachedQuery'))
    return 'changed'
  if (unbound === undefined) return undefined
  if (code === '42P05') return 'lost'
  if (!unbound.isParsed) return undefined
  // 26000: no statement has the name. 08P01: the statement with that name has other parameters.
  if (code === '26000' || code === '08P01') return 'lost'
  // 42501 (missing privilege) is excluded, because PostgreSQL checks privileges again at each Bind.
  if ((code.startsWith('42') && code !== '42501') || code === 'XX000') return 'changed'
  return code.startsWith('22') ? 'possible' : undefined
}

// A set instead of an error class, because instanceof of @fastify/error compares codes, which other
// errors share.
const untouched = new WeakSet<object>()

/** Marks an error of a statement that did not run because its connection could not serve it. */
export function markNeverExecuted<E extends object> (error: E): E {
  untouched.add(error)
  return error
}

/**
 * Whether a statement did not run because its connection could not serve it. It can be retried on
 * another connection.
 */
export function neverExecuted (error: unknown): boolean {
  return typeof error === 'object' && error !== null && untouched.has(error)
}
