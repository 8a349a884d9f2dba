import { isServerError } from '@fastify-tenancy/postgres/client'

import type { BatchEnd } from './pipelined-batch.ts'

/**
 * Why a statement that did not run may succeed if it is parsed anew:
 *
 * - `'lost'`: the server lost the prepared name, or another text stands under it
 * - `'changed'`: the catalog changed since the statement was parsed
 * - `'possible'`: a value did not fit a parameter whose type may have changed, or it fits in no case
 */
export type Staleness = 'lost' | 'changed' | 'possible'

/**
 * Reads from a failed batch whether it failed because of something that was parsed earlier. PostgreSQL plans a stored
 * statement at its bind, with the parameter types of its parse, so most of these errors come before anything ran.
 */
export function stalenessOf (
  { error, unbound, isEarly }: Pick<BatchEnd, 'error' | 'unbound' | 'isEarly'>
): Staleness | undefined {
  if (!isServerError(error)) return undefined
  const { code = '', routine } = error
  // TN410 from the context: the catalog is newer than this process knows. A function of the application could raise it, too.
  if ((code === 'TN410' && isEarly) || (code === '0A000' && routine === 'RevalidateCachedQuery'))
    return 'changed'
  if (unbound === undefined) return undefined
  if (code === '42P05') return 'lost'
  if (!unbound.isParsed) return undefined
  // 26000: no such name. 08P01: the statement under the name takes other parameters.
  if (code === '26000' || code === '08P01') return 'lost'
  // 42501 is a missing privilege, which is checked again at each bind.
  if ((code.startsWith('42') && code !== '42501') || code === 'XX000') return 'changed'
  return code.startsWith('22') ? 'possible' : undefined
}

// A mark and no class: @fastify/error's instanceof goes by the code, which other errors share.
const untouched = new WeakSet<object>()

/** Marks an error of a statement that did not run because its connection could not serve it. */
export function markNeverExecuted<E extends object> (error: E): E {
  untouched.add(error)
  return error
}

/** Whether a statement did not run because its connection could not serve it, so that it may run on another. */
export function neverExecuted (error: unknown): boolean {
  return typeof error === 'object' && error !== null && untouched.has(error)
}
