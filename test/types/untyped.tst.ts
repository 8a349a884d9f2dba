import type { FastifyRequest } from 'fastify'
import { expect, test } from 'tstyche'

import type { TenancyOptions } from 'fastify-tenancy'

declare const request: FastifyRequest

test('until a schema is registered any table may be asked for, and its values are unknown', () => {
  expect(request.db.selectFrom).type.toBeCallableWith('anything')
  expect(request.db.selectFrom('anything').selectAll().execute()).type.toBe<
    Promise<Record<string, unknown>[]>
  >()
})

test('the options name what is wrong with them', () => {
  expect<TenancyOptions>().type.not.toBeAssignableFrom<{ database: number }>()
})
