// A small application on the installed packages: it resolves, limits, reads, writes and caches, and reloads a large limits file.
// Prints 'smoke: ok'. REDIS_URL adds Redis. An argument is the path of a limits file that it may write.
import assert from 'node:assert/strict'
import { renameSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'

import Fastify from 'fastify'
import { memoryRegistry, tenancy } from 'fastify-tenancy'

function limits (rpm) {
  return JSON.stringify({ default: { rpm }, tenants: Object.fromEntries(Array.from({ length: 2_000 }, (_, at) => [`tenant-${at}`, { rpm: 10 + at }])) })
}

function tenant (slug) {
  return { id: `id-of-${slug}`, slug, name: slug, plan: 'free', isolation: 'rls' }
}

async function main () {
  const file = process.argv[2] ?? 'limits.json'
  writeFileSync(file, limits(100))

  const app = Fastify()
  await app.register(tenancy, {
    baseDomain: 'example.com',
    registry: memoryRegistry([tenant('acme'), tenant('globex')]),
    database: 'pglite://memory',
    rls: { secret: 'x'.repeat(32) },
    ...(process.env.REDIS_URL && { redis: redisOptions(process.env.REDIS_URL), namespace: `smoke${process.pid}` }),
    rateLimit: { file }
  })
  app.get('/me', async request => ({ slug: request.tenant.slug, hits: await request.cache.increment('hits') }))
  app.get('/wrapped', async request => request.cache.wrap('w', () => ({ slug: request.tenant.slug })))
  app.get('/login', { config: { rateLimit: { max: 1, timeWindow: '1 minute' } } }, async () => ({}))
  app.get('/db', async request => (await request.db.selectNoFrom(eb => eb.lit(1).as('one')).execute())[0])
  await app.ready()

  const get = async (slug, url) => app.inject({ url, headers: { host: `${slug}.example.com` } })
  assert.deepEqual((await get('acme', '/me')).json(), { slug: 'acme', hits: 1 })
  assert.deepEqual((await get('globex', '/me')).json(), { slug: 'globex', hits: 1 })
  assert.deepEqual((await get('acme', '/wrapped')).json(), { slug: 'acme' })
  assert.deepEqual((await get('globex', '/wrapped')).json(), { slug: 'globex' })
  assert.equal((await get('acme', '/login')).statusCode, 200)
  assert.equal((await get('acme', '/login')).statusCode, 429)
  assert.equal((await get('globex', '/login')).statusCode, 200)
  const answer = await get('acme', '/db')
  assert.deepEqual(answer.json(), { one: 1 }, answer.body)
  assert.equal((await get('nosuch', '/me')).statusCode, 404)

  writeFileSync(`${file}.new`, limits(77))
  renameSync(`${file}.new`, file)
  for (let look = 0; app.tenantRateLimit.limitsFor({ id: 'x', slug: 'x', plan: 'x' }).rpm !== 77; look++) {
    assert.ok(look < 1_000, `the limits file was not read again: ${JSON.stringify(app.tenantRateLimit.health())}`)
    await setTimeout(20)
  }
  assert.equal(app.tenantRateLimit.health().file.status, 'ok')
  await app.close()
  console.log('smoke: ok')
}

function redisOptions (url) {
  const { hostname, port } = new URL(url)
  return { host: hostname, port: Number(port) }
}

// No await at the top: a bundle in CommonJS cannot have it.
main().catch(error => {
  console.error(error)
  process.exitCode = 1
})
