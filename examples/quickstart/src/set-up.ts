import { createManager, type Manager, type ManagerOptions } from '@fastify-tenancy/manager'
import type pg from 'pg'

import { tables } from './schema.ts'

const tenants = [
  { slug: 'acme', name: 'Acme', plan: 'free' },
  { slug: 'globex', name: 'Globex', plan: 'pro' }
]

/**
 * Sets up an empty database, as a deployment does once with `tenancy init`, migrations and
 * `protect`.
 */
export async function setUp (
  pool: pg.Pool,
  options: Pick<ManagerOptions, 'database' | 'isolation' | 'rls' | 'tables'>
): Promise<void> {
  const manager = createManager({
    ...options,
    // With a schema or a database per tenant, creating a tenant creates its tables.
    provision: async ({ client }) => {
      await client.query(tables(false))
    }
  })
  try {
    await fill(manager, pool, options.isolation)
  } finally {
    await manager.close()
  }
}

async function fill (manager: Manager, pool: pg.Pool, isolation: ManagerOptions['isolation']): Promise<void> {
  await manager.init()
  if (isolation === 'rls' || isolation === 'row') {
    await createShared(pool)
    await manager.protect()
  }
  for (const tenant of tenants) {
    // Another process may be seeding at the same time.
    await manager.create(tenant).catch((error: { code?: string }) => {
      if (error.code !== 'FST_TENANCY_TENANT_CONFLICT') throw error
    })
  }
}

// Several processes may start at once, and `if not exists` alone is not safe for that.
async function createShared (pool: pg.Pool): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query(`begin; select pg_advisory_xact_lock(hashtext('quickstart')); ${tables(true)}; commit`)
  } finally {
    client.release()
  }
}
