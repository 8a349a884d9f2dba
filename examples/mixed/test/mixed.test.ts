// Four strategies in one application, and tenants that change theirs while they are served.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { buildApp } from '../src/app.ts'
import { moveWhileServed } from '../src/move-while-served.ts'
import { optionsOf, setUp, strategies } from '../src/options.ts'

const url = process.env.DATABASE_URL ?? 'pglite://memory'
const options = optionsOf(url, 'a secret of the tests, 32 characters')
let app: Awaited<ReturnType<typeof buildApp>>
let manager: Awaited<ReturnType<typeof setUp>>

before(async () => {
  manager = await setUp(options)
  app = await buildApp(options, false)
})
after(async () => {
  await app.close()
  for (const slug of Object.keys(strategies)) {
    await manager.delete({ slug })
    await manager.purge({ slug }) // a schema and a database of its own go, too
  }
  await manager.close()
  await options.close()
})

async function send (slug: string, path: string, payload?: object) {
  const method = payload === undefined ? 'GET' : 'POST'
  const headers = { host: `${slug}.localhost` }
  const reply = await app.inject({ method, url: path, headers, ...(payload && { payload }) })
  return reply.json<{ isolation: string; projects: { name: string }[] }>()
}

test('each tenant has its strategy, and the same routes show each its own rows', async () => {
  for (const slug of Object.keys(strategies)) await send(slug, '/projects', { name: `of ${slug}` })
  for (const [slug, isolation] of Object.entries(strategies)) {
    assert.equal((await send(slug, '/where')).isolation, isolation)
    assert.deepEqual((await send(slug, '/projects')).projects.map(({ name }) => name), [`of ${slug}`])
  }
})

test('a tenant is moved while a client writes to it, and no acknowledged row is lost', async () => {
  const ways = [['acme', 'schema'], ['acme', 'database'], ['globex', 'schema']] as const
  for (const [slug, isolation] of ways) {
    const rows = async () => (await send(slug, '/projects')).projects.length
    const had = await rows()
    const { written, paused } = await moveWhileServed(app, manager, slug, { isolation })
    assert.equal((await send(slug, '/where')).isolation, isolation)
    assert.ok(written > 0)
    assert.equal(await rows(), had + written)
    console.log(`${slug} to ${isolation}: ${written} rows, paused ${paused} ms`)
  }
  assert.deepEqual((await send('initech', '/projects')).projects.map(({ name }) => name), ['of initech'])
})
