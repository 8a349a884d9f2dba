// Does the quickstart keep its two tenants apart? Run it with `npm test` in this folder.
import { assertIsolated } from '@fastify-tenancy/testing'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'

import { buildApp } from '../src/app.ts'

test('acme sees nothing of globex, on any route and in any table', async () => {
  const app = await buildApp({
    baseDomain: 'example.com',
    databaseUrl: process.env.DATABASE_URL || 'pglite://memory',
    // The kit sends more requests than a plan allows.
    limitsFile: fileURLToPath(new URL('unlimited.json', import.meta.url)),
    isolation: 'rls',
    logger: false
  })
  try {
    const report = await assertIsolated(app, { victim: { slug: 'globex' }, attacker: { slug: 'acme' } })
    console.log(String(report))
  } finally {
    await app.close()
  }
})
