import type { Kysely } from 'kysely'
import type { FastifyRequest } from 'fastify'
import { expect, test } from 'tstyche'

import type { TenancyOptions } from 'fastify-tenancy'

interface Schema {
  projects: { tenant_id: string; name: string }
  users: { id: string }
}

declare module 'fastify-tenancy' {
  interface Register {
    database: Schema
    tenantTables: 'projects'
    mode: 'loose'
  }
}

declare const request: FastifyRequest

test('with mode loose request.db is the Kysely that code written before takes', () => {
  expect(request.db).type.toBe<Kysely<Schema>>()
  expect(request.db.insertInto('projects').values).type.toBeCallableWith({ tenant_id: 'mine', name: 'x' })
})

test('the options name what is wrong with them', () => {
  expect<TenancyOptions>().type.not.toBeAssignableFrom<{ database: number }>()
})
