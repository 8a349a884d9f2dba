// Does the adopted application keep its tenants apart?
import { assertIsolated } from '@fastify-tenancy/testing' // before the application
import { createManager } from '@fastify-tenancy/manager'
import { test } from 'node:test'

import config, { manager as adoption } from '../tenancy.config.ts'
import { createOldDatabase } from '../src/create-old-database.ts'
import { newApp } from '../src/new-app.ts'

test('acme sees nothing of globex, on any route and in any table', async () => {
  await createOldDatabase()
  const { database, rls, tables } = config
  const manager = createManager({ database, rls, tables, ...adoption } as Parameters<typeof createManager>[0])
  await manager.init()
  await manager.protect({ stage: 'prepare' })
  await manager.protect({ stage: 'observe' })
  await manager.createFrom({ query: 'select id, slug, name from organizations' })
  await manager.protect({ stage: 'enforce', force: true })
  await manager.migrate()
  const app = await newApp(undefined, false)
  try {
    console.log(String(await assertIsolated(app, { victim: { slug: 'globex' }, attacker: { slug: 'acme' } })))
  } finally {
    await app.close()
    await manager.close()
  }
})
