import { assertIsolated } from '@fastify-tenancy/testing'
import { test } from 'node:test'

import { freshApp } from './fresh-app.js'

test('acme sees nothing of globex, on any route and in any table', async t => {
  const app = await freshApp(t)
  const report = await assertIsolated(app, { victim: { slug: 'globex' }, attacker: { slug: 'acme' } })
  console.log(String(report))
})
