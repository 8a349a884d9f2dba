import { createManager, type ManagerOptions } from '@fastify-tenancy/manager'
import { Kysely, PostgresDialect } from 'kysely'
import type pg from 'pg'

import { migrate } from './schema.ts'

const tenants = [
  { slug: 'acme', name: 'Acme', plan: 'free' },
  { slug: 'globex', name: 'Globex', plan: 'pro' }
]

/** Brings an empty database to where the application can serve: what a deployment does once, with `tenancy init`, migrations and `tenancy protect`. */
export async function setUp (pool: pg.Pool, options: Pick<ManagerOptions, 'rls' | 'tables'>): Promise<void> {
  const manager = createManager({ database: pool, ...options })
  await manager.init()
  await migrate(new Kysely({ dialect: new PostgresDialect({ pool }) }))
  await manager.protect()
  for (const tenant of tenants) {
    // Another process may be seeding too.
    await manager.create(tenant).catch((error: { code?: string }) => {
      if (error.code !== 'FST_TENANCY_TENANT_CONFLICT') throw error
    })
  }
}
