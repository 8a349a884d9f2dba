import { createManager/*::, type ManagerOptions */ } from '@fastify-tenancy/manager'

const tenants = [
  { slug: 'acme', name: 'Acme', plan: 'free' },
  { slug: 'globex', name: 'Globex', plan: 'pro' }
]

/** Sets up a database of development or of a test: roles, tables, two tenants. Idempotent. */
export async function setUp (options/*: ManagerOptions */)/*: Promise<void> */ {
  const manager = createManager(options)
  try {
    await manager.init()
    await manager.migrate()
    for (const tenant of tenants)
      if (await manager.get({ slug: tenant.slug }) === undefined) await manager.create(tenant)
  } finally {
    await manager.close()
  }
}
