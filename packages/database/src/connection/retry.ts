import { isServerError } from './pg-internals.ts'

/** A table changed under a prepared plan, the server lost the name (26000), or it has it already (42P05). */
export function isStaleName (error: unknown): boolean {
  if (!isServerError(error)) return false
  return error.code === '26000' || error.code === '42P05' || (error.code === '0A000' && error.routine === 'RevalidateCachedQuery')
}

// A mark and no class: @fastify/error's instanceof goes by the code, which both would share.
const untouched = new WeakSet<object>()

/** Marks the error of a statement that did not run. */
export function markUntouched<E extends object> (error: E): E {
  untouched.add(error)
  return error
}

/** Whether a statement failed because its connection had ended in the pool, and nobody looked at it: it may run on another. */
export function isUntouched (error: unknown): boolean {
  return typeof error === 'object' && error !== null && untouched.has(error)
}
