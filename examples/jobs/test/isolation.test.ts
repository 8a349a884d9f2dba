// Does the application keep its tenants apart, on any route and in any table?
import { assertIsolated } from '@fastify-tenancy/testing' // before the application
import { test } from 'node:test'

import { buildApp } from '../src/app.ts'
import { optionsOf, setUp } from '../src/options.ts'
import type { Queue } from '../src/job.ts'

// Without a queue the rows stay in the outbox, where the kit looks at them.
const noQueue: Queue = {
  add: () => Promise.reject(new Error('there is no queue in this test')),
  async work () {},
  async close () {}
}

test('acme sees nothing of globex, on any route and in any table', async () => {
  const options = optionsOf({
    databaseUrl: process.env.DATABASE_URL ?? 'pglite://memory',
    secret: 'a secret of the tests, 32 characters'
  })
  await setUp(options)
  const app = await buildApp(options, noQueue, false)
  try {
    console.log(String(
      await assertIsolated(app, {
        victim: { slug: 'globex' },
        attacker: { slug: 'acme' },
        routes: { 'POST /reports': { body: null } }
      })
    ))
  } finally {
    await app.close()
    await options.database.end()
  }
})
