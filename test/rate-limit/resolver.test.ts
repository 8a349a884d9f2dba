// With the real resolver: the limiter sends the refusals that the resolver stored.
import cors from '@fastify/cors'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'

import { memoryRegistry } from '@fastify-tenancy/core'
import rateLimit, { type RateLimitOptions } from '@fastify-tenancy/rate-limit'
import { tenantResolver, type TenantResolverOptions } from '@fastify-tenancy/resolver'

const registry = memoryRegistry([{ id: 'a', slug: 'acme' }, { id: 'g', slug: 'globex' }, {
  id: 's',
  slug: 'gone',
  status: 'suspended'
}, { id: 'p', slug: 'soon', status: 'provisioning' }])

function claim (request: FastifyRequest): string | undefined {
  return request.headers['x-claim']?.toString()
}

async function start (
  t: Test,
  limits: RateLimitOptions['limits'],
  resolver: Partial<TenantResolverOptions> = {}
): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenantResolver, { registry, baseDomain: 'example.com', ...resolver })
  await app.register(rateLimit, { limits: limits ?? {} })
  app.get('/', async request => ({ slug: request.tenant.slug }))
  await app.register(async child => {
    child.setNotFoundHandler((_request, reply) => reply.code(404).send({ own: true }))
    child.get('/a', async () => ({}))
  }, { prefix: '/nested' })
  return app
}

async function statuses (
  app: FastifyInstance,
  host: string,
  urls: readonly string[],
  headers: Record<string, string> = {}
): Promise<number[]> {
  const all: number[] = []
  for (const url of urls) all.push((await app.inject({ url, headers: { ...headers, host } })).statusCode)
  return all
}

t.test('RL-01 RL-04 a tenant is limited by its host, over routes, nested ones and 404s', async t => {
  const app = await start(t, { tenants: { acme: { rpm: 4 } } })
  t.same(await statuses(app, 'acme.example.com', ['/', '/nested/a', '/nested/none', '/none', '/', '/none']), [
    200,
    200,
    404,
    404,
    429,
    429
  ])
  t.same(await statuses(app, 'globex.example.com', ['/']), [200])
})

t.test('RL-04 RL-17 bad, unknown and suspended hosts count for the address, then get 429', async t => {
  const app = await start(t, { anonymous: { rpm: 5 }, default: { rpm: 2 } })
  t.same(await statuses(app, 'a@b.example.com', ['/']), [400])
  t.same(await statuses(app, 'nobody.example.com', ['/', '/none']), [404, 404])
  t.same(await statuses(app, 'example.com', ['/']), [400])
  t.same(await statuses(app, 'gone.example.com', ['/', '/']), [403, 429])
  t.same(await statuses(app, 'nobody.example.com', ['/']), [429])
  t.same(await statuses(app, 'acme.example.com', ['/', '/', '/']), [200, 200, 429])
})

t.test('a refusal that may be retried keeps its retry-after', async t => {
  const app = await start(t, {})
  const { statusCode, headers } = await app.inject({ url: '/', headers: { host: 'soon.example.com' } })
  t.equal(statusCode, 503)
  t.equal(headers['retry-after'], '5')
})

t.test('AGR-01 a tenant of a claim is limited, and counted once if the host names it too', async t => {
  const alone = await start(t, { default: { rpm: 2 } }, { strategies: ['claim'], claim })
  t.same(await statuses(alone, 'any.example.com', ['/', '/', '/'], { 'x-claim': 'a' }), [200, 200, 429])
  t.same(await statuses(alone, 'any.example.com', ['/'], { 'x-claim': 'g' }), [200])
  const both = await start(t, { default: { rpm: 2 } }, { claim })
  t.same(await statuses(both, 'acme.example.com', ['/', '/', '/'], { 'x-claim': 'a' }), [200, 200, 429])
})

for (
  const [where, prefix] of Object.entries({
    'at the root': '',
    'under a prefix': '/api',
    'under a prefix with a slash at its end': '/api/',
    'under two prefixes': '/api/v1'
  })
) {
  t.test(`EDG-09 preflights that a CORS plugin ${where} answers are not counted`, async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(tenantResolver, { registry, baseDomain: 'example.com' })
    await app.register(rateLimit, { limits: { default: { rpm: 2 }, anonymous: { rpm: 2 } } })
    await app.register(async child => {
      await child.register(cors, { origin: true })
      child.get('/things', async request => ({ slug: request.tenant.slug }))
      child.options('/own', async () => ({}))
    }, { prefix })
    const url = `${prefix.replace(/\/$/, '')}/things`
    const preflight = { origin: 'https://app.example.org', 'access-control-request-method': 'GET' }
    for (
      const host of ['acme.example.com', 'nosuch.example.com', 'acme.example.com', 'acme.example.com',
        'nosuch.example.com', 'nosuch.example.com']
    ) {
      const reply = await app.inject({ method: 'OPTIONS', url, headers: { ...preflight, host } })
      t.equal(reply.statusCode, 204)
      t.equal(reply.headers['access-control-allow-origin'], 'https://app.example.org')
      t.notOk(Object.keys(reply.headers).some(name => name.includes('ratelimit')))
    }
    t.same(await statuses(app, 'acme.example.com', [url, url, url], { origin: preflight.origin }), [200, 200,
      429], 'requests are')
    const own = await app.inject({
      method: 'OPTIONS',
      url: url.replace('things', 'own'),
      headers: { host: 'acme.example.com' }
    })
    t.equal(own.statusCode, 429, 'control: so is an OPTIONS route of the application')
  })
}
