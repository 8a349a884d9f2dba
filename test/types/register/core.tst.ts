import { expect, test } from 'tstyche'

import type { Register } from '@fastify-tenancy/core'

// As a user does it: through a module that re-exports core's interface.
declare module './suite.ts' {
  interface Register {
    database: { projects: { id: string; tenant_id: string; name: string } }
    tenantTables: 'projects'
    mode: 'strict'
  }
}

test("what is said through the suite is known in core's own Register", () => {
  expect<Register['tenantTables']>().type.toBe<'projects'>()
  expect<Register['mode']>().type.toBe<'strict'>()
  expect<keyof Register['database']>().type.toBe<'projects'>()
})

test('what is not said is not there', () => {
  expect<Register>().type.not.toHaveProperty('sharedTables')
})
