import type { Generated } from 'kysely'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { expect, test } from 'tstyche'

import type { TenancyOptions } from 'fastify-tenancy'

import type { SharedTable, TenantDatabase, TenantTable } from '@fastify-tenancy/database'
import type { Schema } from './large-schema.ts'

declare module 'fastify-tenancy' {
  interface Register {
    database: Schema
    tenantTables: Extract<keyof Schema, `tenant_${string}`>
    sharedTables: 'countries'
    globalTables: 'users'
  }
}

declare const request: FastifyRequest
declare const app: FastifyInstance
const { db } = request

test('tenant tables and shared tables are there, and no other of the schema', () => {
  expect(db.selectFrom).type.toBeCallableWith('tenant_0')
  expect(db.selectFrom).type.toBeCallableWith('tenant_199 as t')
  expect(db.selectFrom).type.toBeCallableWith('countries')
  expect(db.selectFrom).type.not.toBeCallableWith('users')
  expect(db.selectFrom).type.not.toBeCallableWith('nothing')
})

test('the tenant column can be read, and not written', () => {
  const row = db.selectFrom('tenant_0').selectAll().executeTakeFirstOrThrow()
  expect(row).type.toBe<Promise<{ tenant_id: string; id: string; name: string; amount: number }>>()
  expect(db.insertInto('tenant_0').values).type.toBeCallableWith({ name: 'x', amount: 1 })
  expect(db.insertInto('tenant_0').values).type.not.toBeCallableWith({ tenant_id: 'x', name: 'x', amount: 1 })
  expect(db.updateTable('tenant_0').set).type.toBeCallableWith({ name: 'x' })
  expect(db.updateTable('tenant_0').set).type.not.toBeCallableWith({ tenant_id: 'x' })
})

test('a column that must be given must still be given', () => {
  expect(db.insertInto('tenant_0').values).type.not.toBeCallableWith({ name: 'x' })
})

test('a shared table is read-only', () => {
  expect(db.selectFrom('countries').select).type.toBeCallableWith('code')
  expect(db.insertInto('countries').values).type.not.toBeCallableWith({ code: 'NL' })
  expect(db.updateTable('countries').set).type.not.toBeCallableWith({ code: 'NL' })
})

test('joins and sub-queries keep their types in a schema of 200 tables', () => {
  const joined = db.selectFrom('tenant_0').innerJoin('tenant_1', 'tenant_1.id', 'tenant_0.id').select([
    'tenant_0.name',
    'tenant_1.amount as other'
  ])
  expect(joined.execute()).type.toBe<Promise<{ name: string; other: number }[]>>()
})

test('the pieces can be used alone', () => {
  interface One {
    orgs: { org_id: string; id: Generated<string> }
    plans: { code: string }
  }
  type Seen = TenantDatabase<One, 'orgs', 'plans', 'org_id'>
  expect<Seen['orgs']>().type.toBe<TenantTable<One['orgs'], 'org_id'>>()
  expect<Seen['plans']>().type.toBe<SharedTable<One['plans']>>()
})

test('a route says what it needs of tenants', () => {
  expect(app.get).type.toBeCallableWith('/', { config: { tenancy: 'off' as const } }, async () => 'x')
  expect(app.get).type.toBeCallableWith(
    '/',
    { config: { tenancy: { transaction: true, cost: 0 } } },
    async () => 'x'
  )
})

test('the options name what is wrong with them', () => {
  expect<TenancyOptions>().type.not.toBeAssignableFrom<{ database: number }>()
})
