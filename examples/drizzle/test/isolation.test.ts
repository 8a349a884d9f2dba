// Does the application keep its tenants apart, with Drizzle's SQL?
import { assertIsolated } from '@fastify-tenancy/testing' // before the application
import { test } from 'node:test'

import { buildApp } from '../src/app.ts'

test('acme sees nothing of globex, on any route and in any table', async () => {
  const url = process.env.DATABASE_URL ?? 'pglite://memory'
  const app = await buildApp(url, 'a secret of the tests, 32 characters', false)
  try {
    console.log(String(await assertIsolated(app, { victim: { slug: 'globex' }, attacker: { slug: 'acme' } })))
  } finally {
    await app.close()
  }
})
