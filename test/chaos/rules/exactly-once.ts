import { describe, isServed, type Rule } from '../history.ts'

/** An acknowledged write is there once, and any other write at most once. */
export const exactlyOnce: Rule = {
  name: 'every acknowledged write exactly once',
  check ({ calls, stored }) {
    return calls.filter(({ operation }) => operation === 'write').flatMap(call => {
      const count = stored.get(call.tenant)?.entries.get(call.key) ?? 0
      if (isServed(call) ? count === 1 : count <= 1) return []
      return [`it is there ${count} times: ${describe(call)}`]
    })
  }
}
