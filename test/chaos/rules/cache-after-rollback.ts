import { describe, isServed, type Rule } from '../history.ts'

/** What the cache answers was committed. */
export const cacheAfterRollback: Rule = {
  name: 'nothing of a rolled-back transaction in the cache',
  check ({ calls, stored }) {
    return calls.filter(call => ['staged', 'mark'].includes(call.operation) && isServed(call)).flatMap(
      call => {
        const { value } = call.body as { value: string | null }
        const key = value?.split(':')[1]
        if (key === undefined || stored.get(call.tenant)?.legs.get(key) === 2) return []
        return [`transfer ${key} was rolled back: ${describe(call)}`]
      }
    )
  }
}
