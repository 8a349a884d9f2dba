import type { FastifyInstance, FastifyRequest } from 'fastify'
import { expect, test } from 'tstyche'

import { defineTenancy, fromEnvelope, toEnvelope, type RequestDatabase,
  type TenantWork } from 'fastify-tenancy'
import type { Kysely } from 'kysely'

// `Register` is augmented in database.tst.ts, for the whole program.
declare const request: FastifyRequest
declare const app: FastifyInstance
declare const work: TenantWork

test('work outside a request has the handles of a request', () => {
  expect(work.db).type.toBe<Kysely<RequestDatabase>>()
  expect(work.cache).type.toBe<typeof request.cache>()
  expect(work.tenant).type.toBe<typeof request.tenant>()
  expect(request.tenancy.detach()).type.toBe<TenantWork>()
  expect(app.tenancy.run({ slug: 'acme' }, async ({ tenant }) => tenant.slug)).type.toBe<Promise<string>>()
  expect(app.tenancy.run(fromEnvelope(toEnvelope()), () => 1, { transaction: true, allow: ['suspended'] }))
    .type.toBe<Promise<number>>()
})

test('a variable of the environment may stand where the documentation puts one', () => {
  const variable = undefined as string | undefined
  expect(defineTenancy).type.toBeCallableWith({
    baseDomain: 'example.com',
    database: variable,
    redis: variable,
    rls: { secret: variable }
  })
  expect(defineTenancy).type.toBeCallableWith({
    baseDomain: 'example.com',
    database: { url: variable, ownerUrl: variable, registryUrl: variable, systemUrl: variable }
  })
  expect(defineTenancy).type.not.toBeCallableWith({ baseDomain: 'example.com' })
})

test('a tenant is named by id or slug', () => {
  expect(app.tenancy.run).type.not.toBeCallableWith('acme', () => 1)
  expect(app.tenancy.run).type.not.toBeCallableWith({ name: 'acme' }, () => 1)
})

test('global knows the global tables alone', () => {
  expect(app.tenancy.global.selectFrom).type.toBeCallableWith('users')
  expect(app.tenancy.global.selectFrom).type.not.toBeCallableWith('tenant_0')
  expect(app.tenancy.global.selectFrom).type.not.toBeCallableWith('countries')
})

test('work across tenants says why and who, and sees every table with its tenant column', () => {
  expect(app.tenancy.asSystem).type.not.toBeCallableWith({ reason: 'x' }, () => 1)
  expect(
    app.tenancy.asSystem(
      { reason: 'x', actor: 'y' },
      ({ db }) => db.selectFrom('tenant_0').select('tenant_id').execute()
    )
  )
    .type.toBe<Promise<{ tenant_id: string }[]>>()
  void app.tenancy.asSystem({ reason: 'x', actor: 'y' }, ({ db }) => {
    expect(db.insertInto('tenant_0').values).type.toBeCallableWith({ tenant_id: 'x', name: 'x', amount: 1 })
    expect(db.selectFrom).type.toBeCallableWith('users')
  })
})
