// Does the application keep its organizations apart, with users who are signed in?
import { assertIsolated } from '@fastify-tenancy/testing' // before the application
import { test } from 'node:test'

import { buildApp } from '../src/app.ts'
import { signUp } from './sign-in.ts'

test('a member of acme sees nothing of globex, on any route and in any table', async () => {
  const url = process.env.DATABASE_URL ?? 'pglite://memory'
  const app = await buildApp(url, 'a secret of the tests, 32 characters', false)
  try {
    const headers = { acme: await signUp(app, 'acme'), globex: await signUp(app, 'globex') }
    console.log(String(
      await assertIsolated(app, {
        victim: { slug: 'globex' },
        attacker: { slug: 'acme' },
        authenticate: ({ slug }) => headers[slug as keyof typeof headers],
        routes: {
          'GET /api/auth/*': { params: { '*': 'organization/list' } },
          'POST /api/auth/*': { params: { '*': 'organization/check-slug' }, body: { slug: 'a-new-slug' } }
        }
      })
    ))
  } finally {
    await app.close()
  }
})
