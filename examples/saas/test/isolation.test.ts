// Does the application keep its tenants apart, with users who are logged in?
import { assertIsolated } from '@fastify-tenancy/testing' // before the application
import { test } from 'node:test'

import { testApp } from './start.ts'

test('a user of acme sees nothing of globex, on any route and in any table', async () => {
  const app = await testApp()
  const tokens = new Map<string, string>()
  try {
    for (const slug of ['acme', 'globex']) {
      const owner = { email: `owner@${slug}.com`, password: 'correct horse' }
      await app.inject({ method: 'POST', url: '/sign-up', payload: { company: slug, slug, ...owner } })
      const headers = { host: `${slug}.example.com` }
      const reply = await app.inject({ method: 'POST', url: '/log-in', headers, payload: owner })
      tokens.set(slug, reply.json<{ token: string }>().token)
    }
    console.log(String(
      await assertIsolated(app, {
        victim: { slug: 'globex' },
        attacker: { slug: 'acme' },
        authenticate: ({ slug }) => ({ authorization: `Bearer ${tokens.get(slug)}` })
      })
    ))
  } finally {
    await app.close()
  }
})
