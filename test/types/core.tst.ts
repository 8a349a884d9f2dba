import { describe, expect, test } from 'tstyche'

import { toTenant, currentTenant, memoryRegistry, TenantUnknownError, type ResolvedRouteTenancy,
  type RouteTenancy, type Tenant, type TenantRecord, type TenantRegistry } from '@fastify-tenancy/core'
import { duration } from '@fastify-tenancy/core/options'
import { resolveRouteTenancy, TenantScope } from '@fastify-tenancy/core/scope'

describe('Tenant', () => {
  const tenant = toTenant({ id: 'a', slug: 'acme' })

  test('is read-only to its last property', () => {
    expect(tenant).type.toBeAssignableTo<Tenant>()
    expect<Pick<Tenant, 'id'>>().type.toBe<{ readonly id: string }>()
    expect<Tenant['placement']>().type.toBe<
      { readonly shard: string; readonly schema?: string; readonly database?: string }
    >()
    expect<Tenant['domains']>().type.not.toHaveProperty('push')
    expect<Tenant['settings']>().type.toBe<Readonly<Record<string, unknown>>>()
  })

  test('is made of an id and a slug at least, and of a known status', () => {
    expect(toTenant).type.not.toBeCallableWith({ slug: 'acme' })
    expect(toTenant).type.not.toBeCallableWith({ id: 'a', slug: 'acme', status: 'gone' })
    expect(toTenant).type.toBeCallableWith({
      id: 'a',
      slug: 'acme',
      status: 'suspended',
      isolation: 'schema'
    })
  })

  test('may be absent where there is no request', () => {
    expect(currentTenant()).type.toBe<Tenant | undefined>()
  })
})

describe('TenantRegistry', () => {
  test('answers with a record or undefined', () => {
    expect(memoryRegistry()).type.toBe<TenantRegistry>()
    expect(memoryRegistry().findBySlug('a')).type.toBe<Promise<TenantRecord | undefined>>()
  })

  test('an update cannot name the id, the dates or the version', () => {
    const { update } = memoryRegistry()
    expect(update).type.toBeCallableWith('a', 1, { plan: 'pro', slug: 'b' })
    expect(update).type.not.toBeCallableWith('a', 1, { id: 'b' })
    expect(update).type.not.toBeCallableWith('a', 1, { version: 7 })
    expect(update).type.not.toBeCallableWith('a', 1, { createdAt: new Date() })
  })
})

describe('route tenancy', () => {
  test('a route gives a mode or an object of known keys', () => {
    expect<RouteTenancy>().type.toBeAssignableFrom<'off'>()
    expect<RouteTenancy>().type.toBeAssignableFrom<
      { transaction: true; cost: 2; statuses: ['active', 'suspended']; statementTimeout: '5s' }
    >()
    expect<RouteTenancy>().type.not.toBeAssignableFrom<'none'>()
    expect<RouteTenancy>().type.not.toBeAssignableFrom<{ statuses: ['gone'] }>()
  })

  test('resolved, everything has a value', () => {
    expect(resolveRouteTenancy(undefined)).type.toBe<ResolvedRouteTenancy>()
    expect(resolveRouteTenancy('off').transaction).type.toBe<boolean>()
    expect(resolveRouteTenancy('off').statementTimeout).type.toBe<number | undefined>()
  })
})

test('errors carry a code, and seconds after which to try again', () => {
  const error = new TenantUnknownError()
  expect(error.code).type.toBe<string>()
  expect(error.retryAfter).type.toBe<number | undefined>()
  expect(TenantUnknownError).type.toBeConstructableWith('why', { cause: new Error() })
})

test("a handle has its maker's type", () => {
  const scope = new TenantScope(toTenant({ id: 'a', slug: 'acme' }), {
    info () {},
    warn () {},
    error () {}
  })
  expect(scope.handle(Symbol('x'), () => new Map<string, number>())).type.toBe<Map<string, number>>()
  expect(scope.tenant).type.toBe<Tenant>()
})

test('an option of type duration is a string that becomes milliseconds', () => {
  expect(duration['~standard'].types).type.toBe<
    { readonly input: string; readonly output: number } | undefined
  >()
})
