// The path of a customer: sign-up, log-in, invitation, plan, domain, page.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { testApp } from './start.ts'

const records = new Map<string, string>()
let app: Awaited<ReturnType<typeof testApp>>

before(async () => {
  app = await testApp({ dns: { resolve: async name => [[records.get(name) ?? '']] } })
})
after(() => app.close())

const password = 'correct horse'

async function send (host: string, url: string, payload?: object, token?: string) {
  const reply = await app.inject({
    method: payload === undefined ? 'GET' : 'POST',
    url,
    headers: { host, ...(token !== undefined && { authorization: `Bearer ${token}` }) },
    ...(payload !== undefined && { payload })
  })
  return { status: reply.statusCode, body: reply.json<Record<string, never>>() }
}

async function logIn (slug: string, email: string): Promise<string> {
  const { status, body } = await send(`${slug}.example.com`, '/log-in', { email, password })
  assert.equal(status, 200)
  return body.token ?? ''
}

test('a sign-up makes a tenant on plan free, with its owner', async () => {
  for (const [slug, email] of [['acme', 'ann@acme.com'], ['globex', 'bob@globex.com']] as const) {
    const made = await send('app.example.com', '/sign-up', { company: `${slug} Inc.`, slug, email, password })
    assert.deepEqual(made, { status: 201, body: { slug, name: `${slug} Inc.`, plan: 'free' } })
  }
  const taken = { company: 'Other', slug: 'acme', email: 'eve@evil.com', password }
  const { status, body } = await send('app.example.com', '/sign-up', taken)
  assert.deepEqual([status, body.code], [409, 'FST_TENANCY_TENANT_CONFLICT'])
})

test('a user logs in at their tenant, and at no other', async () => {
  const token = await logIn('acme', 'ann@acme.com')
  assert.equal((await send('acme.example.com', '/projects', undefined, token)).status, 200)
  const elsewhere = await send('globex.example.com', '/projects', undefined, token)
  assert.deepEqual([elsewhere.status, elsewhere.body.code], [403, 'FST_TENANCY_TENANT_MISMATCH'])
  const credentials = { email: 'ann@acme.com', password }
  assert.equal((await send('globex.example.com', '/log-in', credentials)).status, 401)
  assert.equal((await send('acme.example.com', '/projects')).status, 401)
})

test('plan free has three projects, and pro has more', async () => {
  const token = await logIn('acme', 'ann@acme.com')
  const add = (name: string) => send('acme.example.com', '/projects', { name }, token)
  for (const name of ['One', 'Two', 'Three <b>']) assert.equal((await add(name)).status, 201)
  assert.equal((await add('Four')).status, 402)
  assert.deepEqual(await send('acme.example.com', '/plan', { plan: 'pro' }, token), {
    status: 200,
    body: { plan: 'pro' }
  })
  assert.equal((await add('Four')).status, 201)
})

test('an invitation makes a member of this tenant, once, and a member is no owner', async () => {
  const owner = await logIn('acme', 'ann@acme.com')
  const invitation = { email: 'carl@acme.com', role: 'member' }
  const { body: { token } } = await send('acme.example.com', '/invitations', invitation, owner)
  const accept = (slug: string) => send(`${slug}.example.com`, '/invitations/accept', { token, password })
  assert.equal((await accept('globex')).status, 401)
  const accepted = await accept('acme')
  assert.equal(accepted.status, 200)
  assert.equal((await accept('acme')).status, 401)
  assert.deepEqual((await send('acme.example.com', '/members', undefined, owner)).body.members, [
    { email: 'ann@acme.com', role: 'owner' },
    { email: 'carl@acme.com', role: 'member' }
  ])
  const { status, body } = await send('acme.example.com', '/plan', { plan: 'free' }, accepted.body.token)
  assert.deepEqual([status, body.code], [403, 'OWNERS_ONLY'])
})

test('a domain leads to its tenant once the DNS shows the record', async () => {
  const token = await logIn('acme', 'ann@acme.com')
  const claimed = await send('acme.example.com', '/domains', { domain: 'projects.acme.com' }, token)
  const { name, value } = claimed.body.record as unknown as { name: string; value: string }
  const verify = () => send('acme.example.com', '/domains/verify', { domain: 'projects.acme.com' }, token)
  assert.equal((await verify()).body.code, 'FST_TENANCY_DOMAIN_UNVERIFIED')
  records.set(name, value)
  assert.equal((await verify()).status, 200)
  assert.equal((await send('projects.acme.com', '/projects', undefined, token)).status, 200)
})

test('the page shows the projects of the tenant, and sends strangers to the log-in', async () => {
  const headers = { host: 'acme.example.com' }
  const stranger = await app.inject({ url: '/', headers })
  assert.deepEqual([stranger.statusCode, stranger.headers.location], [302, '/log-in'])
  const form = await app.inject({ url: '/log-in', headers })
  assert.match(form.body, /<h1>acme Inc\.<\/h1>/)
  const session = await logIn('acme', 'ann@acme.com')
  const { body } = await app.inject({ url: '/', headers, cookies: { session } })
  assert.match(body, /<li>One<\/li><li>Two<\/li><li>Three &lt;b&gt;<\/li>/)
  const foreign = await app.inject({
    url: '/',
    headers: { host: 'globex.example.com' },
    cookies: { session }
  })
  assert.equal(foreign.statusCode, 403)
})

test('the OpenAPI document lists the routes', async () => {
  const { body } = await send('anything', '/openapi.json')
  assert.ok('/projects/{id}' in (body as unknown as { paths: object }).paths)
})
