import { describe, isServed, type Rule } from '../history.ts'

/** Of a transfer both rows are there or none, in the end and in every answer. */
export const wholeTransactions: Rule = {
  name: 'transactions whole',
  check ({ calls, stored }) {
    return calls.flatMap(call => {
      const { operation, tenant, key, body } = call
      if (operation === 'read' && isServed(call)) {
        const { legs } = body as { legs: Record<string, number> }
        return Object.values(legs).every(count => count === 2) ? [] : [`a part was seen: ${describe(call)}`]
      }
      if (operation !== 'transfer' && operation !== 'failing transfer') return []
      const count = stored.get(tenant)?.legs.get(key) ?? 0
      const isRight = operation === 'failing transfer'
        ? count === 0 && !isServed(call)
        : isServed(call)
        ? count === 2
        : count === 0 || count === 2
      return isRight ? [] : [`${count} of 2 rows are there: ${describe(call)}`]
    })
  }
}
