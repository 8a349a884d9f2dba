import Fastify from 'fastify'
import t from 'tap'

import { currentTenant } from '@fastify-tenancy/core'
import type { TenantResolverOptions } from '@fastify-tenancy/resolver'
import { boot, CountingRegistry, raw, start } from './app.ts'

const at = (host: string): { headers: { host: string } } => ({ headers: { host } })

t.test('TRD-01 an off route is served under any host without reading it', async t => {
  const { app, registry } = await start(t, {}, app => {
    app.get('/health', { config: { tenancy: 'off' } }, async () => ({ status: 'ok' }))
    app.get(
      '/touch',
      { config: { tenancy: { mode: 'off' } } },
      async request => ({ tenant: String(request.tenant) })
    )
    app.get(
      '/signal',
      { config: { tenancy: 'off' } },
      async request => ({ aborted: request.tenancy.signal.aborted })
    )
  })
  for (const host of ['10.1.2.3:8080', '[fd00::1]', 'a@b', 'acme.example.com', 'example.com'])
    t.same((await app.inject({ url: '/health', ...at(host) })).json(), { status: 'ok' }, host)
  t.match(await raw(app, 'GET /health HTTP/1.0\r\n\r\n'), /200 OK/)
  t.same((await app.inject({ url: '/touch', ...at('acme.example.com') })).json(), { tenant: 'undefined' })
  t.equal(
    (await app.inject({ url: '/signal', ...at('acme.example.com') })).json().code,
    'FST_TENANCY_CONTEXT_MISSING'
  )
  t.equal(registry.reads, 0)
})

t.test("TRD-01 other plugins' routes are off or optional by URL, their own config first", async t => {
  const { app, registry } = await start(t, {
    routes: { off: ['/documentation/*', '/robots.txt'], optional: ['/open/*'] }
  }, app => {
    for (const url of ['/documentation', '/documentation/json', '/robots.txt', '/documentationx', '/open/a'])
      app.get(url, async request => ({ mode: request.tenancy.route.mode }))
    app.get(
      '/documentation/private',
      { config: { tenancy: 'required' } },
      async request => ({ mode: request.tenancy.route.mode })
    )
  })
  const mode = async (url: string): Promise<string> =>
    (await app.inject({ url, ...at('10.0.0.1') })).json().mode ?? 'refused'
  t.equal(await mode('/documentation'), 'off')
  t.equal(await mode('/documentation/json'), 'off')
  t.equal(await mode('/robots.txt'), 'off')
  t.equal(await mode('/documentationx'), 'refused')
  t.equal(await mode('/documentation/private'), 'refused')
  t.equal((await app.inject({ url: '/open/a', ...at('example.com') })).json().mode, 'optional')
  t.equal(registry.reads, 0)
})

t.test('TRD-01 the preflight route of a CORS plugin is off unless it says otherwise', async t => {
  const { app, registry } = await start(t, {}, app => {
    app.options('*', async (_request, reply) => reply.code(204).send())
  })
  t.equal(
    (await app.inject({ method: 'OPTIONS', url: '/projects', ...at('nosuch.example.com') })).statusCode,
    204
  )
  t.equal(registry.reads, 0)
  const strict = await start(t, {}, app => {
    app.options('*', { config: { tenancy: 'required' } }, async (_request, reply) => reply.code(204).send())
  })
  t.equal(
    (await strict.app.inject({ method: 'OPTIONS', url: '/projects', ...at('nosuch.example.com') }))
      .statusCode,
    404
  )
})

t.test('an optional route works without a tenant, but not with a bad host or suspended tenant', async t => {
  const { app, registry } = await start(t, {}, app => {
    app.get(
      '/open',
      { config: { tenancy: 'optional' } },
      async request => ({ slug: request.tenant?.slug ?? null, inContext: currentTenant()?.slug ?? null })
    )
  })
  const open = async (host: string): Promise<unknown> => {
    const response = await app.inject({ url: '/open', ...at(host) })
    return response.statusCode === 200 ? response.json() : response.json().code
  }
  t.same(await open('acme.example.com'), { slug: 'acme', inContext: 'acme' })
  for (const host of ['example.com', 'www.example.com', 'nosuch.example.com', 'a.b.example.com', 'other.org'])
    t.same(await open(host), { slug: null, inContext: null }, host)
  t.equal(await open('a@b'), 'FST_TENANCY_HOST_INVALID')
  await registry.set('t-globex', { status: 'suspended' })
  t.equal(await open('globex.example.com'), 'FST_TENANCY_TENANT_SUSPENDED')
  registry.failure = new Error('down')
  t.equal(await open('a.example.com'), 'FST_TENANCY_REGISTRY_UNAVAILABLE')
})

t.test("a tenant is served by its status and by the route's options", async t => {
  const registry = new CountingRegistry(
    (['active', 'suspended', 'provisioning', 'deleting', 'deleted'] as const).map(status => ({
      id: `t-${status}`,
      slug: status,
      status
    }))
  )
  const { app } = await start(t, { registry }, app => {
    app.get(
      '/billing',
      { config: { tenancy: { statuses: ['active', 'suspended'] } } },
      async request => ({ slug: request.tenant.slug })
    )
    app.get(
      '/export',
      { config: { tenancy: { statuses: ['deleting'] } } },
      async request => ({ slug: request.tenant.slug })
    )
  })
  const status = async (url: string, slug: string): Promise<number> =>
    (await app.inject({ url, ...at(`${slug}.example.com`) })).statusCode
  t.same(
    await Promise.all(
      ['active', 'suspended', 'provisioning', 'deleting', 'deleted', 'nosuch'].map(slug => status('/', slug))
    ),
    [200, 403, 503, 404, 404, 404]
  )
  t.same(
    await Promise.all(
      ['active', 'suspended', 'provisioning', 'deleting', 'deleted'].map(slug => status('/billing', slug))
    ),
    [200, 200, 503, 404, 404]
  )
  t.same(
    await Promise.all(['active', 'suspended', 'deleting', 'deleted'].map(slug => status('/export', slug))),
    [200, 403, 200, 404]
  )
  const notReady = await app.inject({ url: '/', ...at('provisioning.example.com') })
  t.match(notReady, { headers: { 'retry-after': '5' } })
  t.equal(notReady.json().code, 'FST_TENANCY_TENANT_NOT_READY')
  const [deleted, nobody] = await Promise.all(
    ['deleted', 'nosuch'].map(slug => app.inject({ url: '/', ...at(`${slug}.example.com`) }))
  )
  t.equal(deleted?.body, nobody?.body, 'a deleted tenant looks like none')
})

t.test('RES-24 unmatched URLs, HEAD and OPTIONS on a tenant host need a tenant', async t => {
  const { app } = await start(t)
  t.equal((await app.inject({ method: 'HEAD', url: '/', ...at('acme.example.com') })).statusCode, 200)
  t.equal((await app.inject({ method: 'OPTIONS', url: '/', ...at('acme.example.com') })).statusCode, 404)
  const missing = await app.inject({ url: '/nowhere', ...at('acme.example.com') })
  t.equal(missing.statusCode, 404)
  t.match(missing.json().message, /Route GET:\/nowhere not found/)
  t.equal(
    (await app.inject({ url: '/nowhere', ...at('nosuch.example.com') })).json().code,
    'FST_TENANCY_TENANT_UNKNOWN'
  )
  t.equal((await app.inject({ url: '/nowhere', ...at('a@b') })).statusCode, 400)
})

t.test('a wrong config.tenancy stops the boot and names the route', async t => {
  for (
    const tenancy of ['none', { mode: 'sometimes' }, { cost: -1 }, { unknown: true }, { statuses: [] }, 7,
      null]
  ) {
    const app = Fastify()
    await boot(app)
    t.throws(() => app.get('/x', { config: { tenancy: tenancy as 'off' } }, () => ''), {
      code: 'FST_TENANCY_OPTION_INVALID',
      message: /config\.tenancy of GET \/x/
    }, JSON.stringify(tenancy))
    await app.close()
  }
})

t.test('routes before the plugin and a second registration stop the boot', async t => {
  const early = Fastify()
  early.get('/early/:id', () => '')
  await t.rejects(boot(early), { code: 'FST_TENANCY_OPTION_INVALID', message: /before all routes/ })
  const twice = Fastify()
  await boot(twice)
  await t.rejects(boot(twice), { code: 'FST_TENANCY_OPTION_INVALID', message: /registered twice/ })
  const cors = Fastify()
  cors.options('*', () => '')
  await boot(cors)
  await cors.close()
  const notOnlyCors = Fastify()
  notOnlyCors.options('*', () => '')
  notOnlyCors.options('/x', () => '')
  await t.rejects(boot(notOnlyCors), { code: 'FST_TENANCY_OPTION_INVALID' })
})

t.test('wrong options stop the boot with a sentence and are not modified', async t => {
  const registry = new CountingRegistry()
  const says = async (options: object): Promise<string> =>
    boot(Fastify(), { registry, ...options } as TenantResolverOptions).then(
      () => 'accepted',
      (error: Error) => error.message
    )
  t.match(await says({ registry: {} }), /^options\.registry must be a TenantRegistry, got an object/)
  t.match(await says({ baseDomain: undefined }), /^options\.baseDomain is required/)
  t.match(await says({ baseDomain: '' }), /^options\.baseDomain must be a non-empty string/)
  t.match(await says({ baseDomain: '127.0.0.1' }), /^options\.baseDomain must be a domain/)
  t.match(await says({ hosts: ['{tenant}.a.com'] }), /exclude each other/)
  t.match(await says({ strategies: ['cookie'] }), /^options\.strategies\.0 must be 'subdomain'/)
  t.match(await says({ strategies: ['subdomain', 'subdomain'] }), /each strategy once/)
  t.match(await says({ strategies: [] }), /at least one strategy/)
  t.match(await says({ strategies: ['claim'] }), /^options\.claim is required/)
  t.match(await says({ cache: { ttl: 30 } }), /^options\.cache\.ttl must be a duration with a unit/)
  t.match(await says({ cache: { localTtl: 'abc' } }), /^options\.cache\.localTtl must be/)
  t.match(await says({ cache: { max: 0 } }), /^options\.cache\.max must be a positive integer, got 0/)
  t.match(
    await says({ cache: { max: 1e12 } }),
    /^options\.cache\.max must be a positive integer up to 10000000, got/
  )
  t.match(
    await says({ cache: { localTtl: '30d' } }),
    /^options\.cache\.localTtl must be a duration of at most 24 days/
  )
  t.match(await says({ cache: { jitter: 2 } }), /^options\.cache\.jitter must be a number from 0 to 1/)
  t.match(await says({ cahce: {} }), /^options\.cahce is not a known option/)
  t.match(await says({ redis: 'http://x' }), /^options\.redis must be/)
  t.match(await says({ routes: { off: ['docs/*'] } }), /^options\.routes\.off\.0 must be a URL pattern/)
  t.match(await says({ routes: { off: ['/a'], optional: ['/a'] } }), /as off and as optional/)
  t.match(await says({ fallback: 'Not A Slug' }), /^options\.fallback must be/)
  t.match(await says({ header: 'x tenant' }), /^options\.header must be the name of a header/)
  t.equal(await says({}), 'accepted')
  t.notOk(Object.isFrozen(registry))
})

t.test('another name for request.tenant, and no getter is enumerable', async t => {
  const { app } = await start(t, { decorators: { tenant: 'account' } }, app => {
    app.get(
      '/keys',
      async request => ({
        keys: Object.keys(request),
        json: JSON.stringify({ ...request, raw: 0, log: 0 }),
        slug: (request as unknown as { account: { slug: string } }).account.slug
      })
    )
  })
  const body: { keys: string[]; json: string; slug: string } =
    (await app.inject({ url: '/keys', ...at('acme.example.com') })).json()
  t.equal(body.slug, 'acme')
  t.notOk(body.keys.some(key => /tenan|account/.test(key)), body.keys.join())
  t.notMatch(body.json, /acme/)
})
