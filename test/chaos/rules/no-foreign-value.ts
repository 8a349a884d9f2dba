import { findForeign } from '@fastify-tenancy/testing'

import { describe, isServed, type Rule } from '../history.ts'

/** Every value in an answer and in a row is the tenant's own. */
export const noForeignValue: Rule = {
  name: 'no foreign value',
  check ({ calls, stored, tenants }) {
    const problems = calls.flatMap(call => {
      const [leak] = findForeign(call.body, { tenant: call.tenant, tenants })
      if (leak !== undefined) return [`${leak.value} was shown: ${describe(call)}`]
      const { tenant } = call.body as { tenant?: unknown } ?? {}
      return call.operation === 'me' && isServed(call) && tenant !== `id-${call.tenant}`
        ? [`another tenant answers: ${describe(call)}`]
        : []
    })
    for (const [tenant, { values }] of stored) {
      for (const { value } of findForeign(values, { tenant, tenants }))
        problems.push(`the rows of ${tenant} hold ${value}`)
    }
    return problems
  }
}
