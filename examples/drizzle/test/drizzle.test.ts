// Drizzle's queries, relations and transactions, each for the tenant of its request.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { buildApp } from '../src/app.ts'

let app: Awaited<ReturnType<typeof buildApp>>
before(async () => {
  app = await buildApp(
    process.env.DATABASE_URL ?? 'pglite://memory',
    'a secret of the tests, 32 characters',
    false
  )
})
after(() => app.close())

async function send (slug: string, method: 'GET' | 'POST' | 'DELETE', url: string, payload?: object) {
  const headers = { host: `${slug}.localhost` }
  const reply = await app.inject({ method, url, headers, ...(payload && { payload }) })
  return { status: reply.statusCode, body: reply.body === '' ? undefined : reply.json<{ id: string }>() }
}

test('a project and its tasks are made in one transaction, and only their tenant reads them', async () => {
  const { status, body } = await send('acme', 'POST', '/projects', { name: 'Secret', tasks: ['One', 'Two'] })
  assert.equal(status, 201)
  assert.deepEqual((await send('acme', 'GET', '/projects')).body, [body])
  assert.deepEqual((await send('globex', 'GET', '/projects')).body, [])
  assert.equal((await send('globex', 'GET', `/projects/${body?.id}`)).status, 404)
  assert.equal((await send('globex', 'DELETE', `/projects/${body?.id}`)).status, 404)
  assert.equal((await send('acme', 'DELETE', `/projects/${body?.id}`)).status, 204)
})

test('a transaction that fails leaves no row', async () => {
  // PostgreSQL refuses the byte zero in the second statement.
  const { status } = await send('acme', 'POST', '/projects', { name: 'Half', tasks: ['\0'] })
  assert.equal(status, 400)
  assert.deepEqual((await send('acme', 'GET', '/projects')).body, [])
})
