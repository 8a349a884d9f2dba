// An organization of better-auth is a tenant, and its members are let in.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { buildApp } from '../src/app.ts'
import { signUp } from './sign-in.ts'

let app: Awaited<ReturnType<typeof buildApp>>
before(async () => {
  app = await buildApp(
    process.env.DATABASE_URL ?? 'pglite://memory',
    'a secret of the tests, 32 characters',
    false
  )
})
after(() => app.close())

async function send (slug: string, url: string, headers: Record<string, string> = {}, payload?: object) {
  const method = payload === undefined ? 'GET' : 'POST'
  const reply = await app.inject({
    method,
    url,
    headers: { host: `${slug}.localhost`, ...headers },
    ...(payload && { payload })
  })
  return {
    status: reply.statusCode,
    body: reply.json<{ code?: string; message?: string; organization?: string }>()
  }
}

test('an organization is served from the moment that it is made, to its members alone', async () => {
  assert.equal((await send('acme', '/projects')).status, 404)
  const [ann, bob] = [await signUp(app, 'acme'), await signUp(app, 'globex')]
  assert.deepEqual((await send('acme', '/me', ann)).body, { organization: 'acme Inc.', role: 'owner' })
  assert.equal((await send('acme', '/projects', ann, { name: 'Secret' })).status, 201)
  assert.deepEqual((await send('globex', '/projects', bob)).body, [])
  assert.equal((await send('acme', '/projects')).status, 401)
  const stranger = await send('acme', '/projects', bob)
  assert.deepEqual([stranger.status, stranger.body.code], [403, 'FST_TENANCY_TENANT_MISMATCH'])
})

test('a slug that cannot be a subdomain is refused', async () => {
  const bob = { email: 'owner@globex.com', password: 'correct horse' }
  const signedIn = await app.inject({ method: 'POST', url: '/api/auth/sign-in/email', payload: bob })
  const headers = { authorization: `Bearer ${signedIn.json<{ token: string }>().token}` }
  for (const slug of ['www', 'Not a label']) {
    const { status } = await send('any', '/api/auth/organization/create', headers, { name: 'Other', slug })
    assert.equal(status, 400)
  }
})
