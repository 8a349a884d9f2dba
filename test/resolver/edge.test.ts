// The edge of the application: headers, proxies, sockets, floods, and unreadable records.
import { memoryRegistry, type TenantRecord, type TenantRegistry } from '@fastify-tenancy/core'
import { tenantRateLimit } from '@fastify-tenancy/rate-limit'
import { tenantResolver } from '@fastify-tenancy/resolver'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import fp from 'fastify-plugin'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'

import { resolveResolverOptions } from '../../packages/resolver/src/options.ts'
import { TenantResolver } from '../../packages/resolver/src/resolver.ts'
import { until } from '../support/until.ts'
import { CountingRegistry, start } from './app.ts'

const acme = { host: 'acme.example.com' }

t.test('EDG-07 strategy header: every reply names the header in Vary', async t => {
  const { app } = await start(
    t,
    { strategies: ['subdomain', 'header'], baseDomain: 'example.com' } as never,
    app => {
      app.get('/off', { config: { tenancy: 'off' } }, async () => ({}))
      app.get('/own', async (_request, reply) => reply.header('vary', 'Accept').send({}))
      app.get('/named', async (_request, reply) => reply.header('vary', 'Accept, X-Tenant').send({}))
      app.get('/all', async (_request, reply) => reply.header('vary', '*').send({}))
      app.get('/list', async (_request, reply) => reply.header('vary', ['Accept', 'Origin']).send({}))
      app.get('/fails', async () => {
        throw new Error('no')
      })
      app.addHook('onSend', async (request, reply) => {
        if (request.url === '/late') reply.header('vary', 'Late')
      })
      app.get('/late', async () => ({}))
    }
  )
  const vary = async (
    url: string,
    headers: object = { 'x-tenant': 'acme', host: 'localhost' }
  ): Promise<unknown> => (await app.inject({ url, headers: headers as never })).headers.vary
  for (
    const [url, expected] of Object.entries({
      '/': 'x-tenant',
      '/own': 'Accept, x-tenant',
      '/named': 'Accept, X-Tenant',
      '/all': '*',
      '/list': 'Accept, Origin, x-tenant',
      '/fails': 'x-tenant',
      '/late': 'Late, x-tenant',
      '/nowhere': 'x-tenant'
    })
  ) {
    t.equal(await vary(url), expected, url)
  }
  t.equal(await vary('/off'), undefined, 'a route that reads no tenant')
  t.equal(await vary('/', { 'x-tenant': 'nobody', host: 'localhost' }), 'x-tenant', '404')
  t.equal(await vary('/', { host: 'localhost' }), 'x-tenant', '400')
  const other = await start(t)
  t.equal(
    (await other.app.inject({ url: '/', headers: acme })).headers.vary,
    undefined,
    'control: another strategy'
  )
  const named = await start(t, { strategies: ['header'], header: 'X-Org' })
  t.equal((await named.app.inject({ url: '/', headers: { 'x-org': 'acme' } })).headers.vary, 'x-org')
})

t.test('EDG-10 1,500 made-up hosts at once do not delay real tenants', async t => {
  const registry = new CountingRegistry()
  const { app, who } = await start(t, { registry })
  const gate = Promise.withResolvers<void>()
  registry.gate = gate.promise
  const asked = Array.from(
    { length: 1_500 },
    (_, n) =>
      app.tenantResolver.isKnownHost(`made-up-${n}.shop`).then(
        String,
        (error: { code: string; statusCode: number }) => `${error.statusCode} ${error.code}`
      )
  )
  await until(() => registry.reads >= 2)
  const first = Promise.all([who('acme.example.com'), who('acme.shop'), who('globex.example.com')])
  await until(() => registry.asked.some(name => name === 'globex'))
  t.ok(registry.asked.filter(name => name.startsWith('made-up')).length <= 3, 'few of them are under way')
  t.strictSame(
    new Set(registry.asked.filter(name => !name.startsWith('made-up'))),
    new Set(['acme', 'acme.shop', 'globex']),
    'and none keeps a request waiting'
  )
  gate.resolve()
  registry.gate = undefined
  t.strictSame(await first, ['acme', 'acme', 'globex'])
  const counts = Object.groupBy(await Promise.all(asked), answer => answer)
  t.strictSame(Object.keys(counts).toSorted(), ['429 FST_TENANCY_RATE_LIMITED', 'false'])
  const answered = counts['false']?.length ?? 0
  t.ok(answered >= 400 && answered < 410, `its budget of 300 a minute, and 100 that wait: ${answered}`)
  t.equal(await app.tenantResolver.isKnownHost('acme.shop'), true, 'what is known costs nothing')
  for (const wrong of [undefined, null, 17, ['a.shop', 'b.shop'], { host: 'a.shop' }]) {
    await t.rejects(app.tenantResolver.isKnownHost(wrong as never), {
      statusCode: 400,
      code: 'FST_TENANCY_HOST_INVALID'
    })
  }
  t.equal(await app.tenantResolver.isKnownHost('a b'), false)
})

async function overSocket (
  t: Test,
  server: FastifyServerOptions,
  headers: Record<string, string>
): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'tenancy-socket-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  const { app } = await start(t, { trustForwardedHost: true }, () => {}, server)
  const path = join(folder, 's')
  await app.listen({ path })
  return new Promise((resolve, reject) => {
    request({ socketPath: path, path: '/', headers }, response => {
      text(response).then(resolve, reject)
    }).on('error', reject).end()
  })
}

t.test('EDG-11 a Unix socket behind a proxy: X-Forwarded-Host is read', async t => {
  const headers = { host: 'internal.local', 'x-forwarded-host': 'acme.example.com' }
  t.match(await overSocket(t, { trustProxy: '10.0.0.1' }, headers), '"slug":"acme"')
  t.match(
    await overSocket(t, { trustProxy: () => false }, headers),
    '"slug":"acme"',
    'a function is asked of addresses, and a socket has none'
  )
  t.match(await overSocket(t, { trustProxy: '10.0.0.1' }, { host: 'globex.example.com' }), '"slug":"globex"')
  const tcp = await start(t, { trustForwardedHost: true }, () => {}, { trustProxy: '10.0.0.1' })
  t.equal(
    await tcp.who('globex.example.com', { 'x-forwarded-host': 'acme.example.com' }),
    'globex',
    'control: over TCP the peer must be a proxy'
  )
})

/** A registry that cannot read the records of some tenants. */
class BrokenRecords extends CountingRegistry {
  readonly broken = new Set<string>()

  override findBySlug (slug: string): Promise<TenantRecord | undefined> {
    this.asked.push(slug)
    if (this.broken.has(slug)) return Promise.reject(new TypeError('a record that cannot be read'))
    return this.failure === undefined ? this.inner.findBySlug(slug) : Promise.reject(this.failure)
  }
}

t.test('EDG-12 records that cannot be read, asked for often, leave all other tenants fresh', async t => {
  const registry = new BrokenRecords([{ id: 'a', slug: 'acme' }, { id: 'b', slug: 'broken' }, {
    id: 'c',
    slug: 'worse'
  }])
  registry.broken.add('broken').add('worse')
  let now = 0
  const { cache } = resolveResolverOptions({
    registry,
    baseDomain: 'example.com',
    cache: { jitter: 0, localTtl: '1s' }
  })
  const resolver = new TenantResolver(registry, undefined, cache, () => undefined, () => now)
  await resolver.find({ slug: 'acme' })
  for (let round = 0; round < 20; round++) {
    for (const slug of ['broken', 'worse'])
      await t.rejects(resolver.find({ slug }), { code: 'FST_TENANCY_REGISTRY_UNAVAILABLE' })
    await registry.set('a', { plan: `p${round}` })
    now += 1_100
    t.equal((await resolver.find({ slug: 'acme' }))?.plan, `p${round}`)
  }
  t.equal(resolver.health().status, 'ok')

  registry.failure = new Error('an outage, as the control')
  now += 1_100
  t.equal((await resolver.find({ slug: 'acme' }))?.plan, 'p19', 'served from the old copy')
  await until(() => resolver.health().status === 'degraded')
  const { reads } = registry
  await resolver.find({ slug: 'acme' })
  t.equal(registry.reads, reads, 'and for a second without asking')
})

t.test('one warning when X-Forwarded-For arrives and trustProxy is off', async t => {
  for (
    const [server, expected] of [[{}, 1], [{ trustProxy: '127.0.0.1' }, 0], [{ trustProxy: true },
      0]] as const
  ) {
    let log = ''
    const { app } = await start(t, {}, () => {}, {
      ...server,
      logger: {
        level: 'warn',
        stream: {
          write: (line: string) => {
            log += line
          }
        }
      }
    })
    await app.inject({ url: '/', headers: acme })
    t.notMatch(log, /X-Forwarded-For/)
    for (let at = 0; at < 3; at++)
      await app.inject({ url: '/', headers: { ...acme, 'x-forwarded-for': '192.0.2.1' } })
    t.equal(log.match(/X-Forwarded-For/g)?.length ?? 0, expected)
  }
})

const documentation = fp(async (app: FastifyInstance) => {
  app.get('/documentation', async () => 'docs')
  app.get('/documentation/json', async request => ({ tenant: request.tenancy.scope?.tenant.slug ?? null }))
  app.get('/documentation/static/*', async () => 'file')
})

t.test('TRD-01 plugins that bring routes may come first where routes.off names these', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(documentation)
  await app.register(async child => {
    child.get('/nested/a/:id', async () => 'child')
  })
  await app.register(tenantResolver, {
    baseDomain: 'example.com',
    registry: memoryRegistry([{ id: '1', slug: 'acme' }]),
    routes: { off: ['/documentation/*', '/nested/a/:id'] }
  })
  await app.register(tenantRateLimit, { limits: { default: { rpm: 1 } } })
  app.get('/', request => request.tenant.slug)
  for (const url of ['/documentation', '/documentation/json', '/documentation/static/x.js', '/nested/a/7']) {
    for (let at = 0; at < 3; at++)
      t.equal((await app.inject({ url, headers: { host: '10.0.0.1' } })).statusCode, 200, url)
  }
  t.same((await app.inject({ url: '/documentation/json', headers: acme })).json(), { tenant: null })
  t.equal((await app.inject({ url: '/', headers: acme })).body, 'acme')
  t.equal(
    (await app.inject({ url: '/nowhere', headers: { host: 'nobody.example.com' } })).json().code,
    'FST_TENANCY_TENANT_UNKNOWN',
    'an unmatched URL is no earlier route'
  )

  for (
    const [off, url] of [[[], '/documentation'], [['/documentation', '/documentation/json'],
      '/documentation/static/*'], [['/doc*'], '/nested/a/:id']] as const
  ) {
    const other = Fastify()
    await other.register(documentation)
    await other.register(async child => {
      child.get('/nested/a/:id', async () => 'child')
    })
    await t.rejects(
      async () =>
        other.register(tenantResolver, {
          baseDomain: 'example.com',
          registry: memoryRegistry(),
          routes: { off: [...off] }
        }),
      {
        code: 'FST_TENANCY_OPTION_INVALID',
        message: new RegExp(
          `a route exists already \\(${url.replace('*', '\\*')} \\(GET, HEAD\\)\\).*routes\\.off`
        )
      }
    )
  }
})

t.test('an encapsulated registration is reported at boot', async t => {
  for (
    const [isEncapsulated, wrap] of [[true, (plugin: (app: FastifyInstance) => Promise<void>) => plugin], [
      false,
      fp
    ]] as const
  ) {
    let log = ''
    const app = Fastify({
      logger: {
        level: 'warn',
        stream: {
          write: (line: string) => {
            log += line
          }
        }
      }
    })
    t.teardown(() => app.close())
    await app.register(wrap(async (child: FastifyInstance) => {
      await child.register(tenantResolver, { baseDomain: 'example.com', registry: memoryRegistry() })
    }))
    await app.ready()
    t.equal(/routes outside have no tenant.*fastify-plugin/.test(log), isEncapsulated)
  }
})

t.test('RL-18 AGR-01 a claim that disagrees with the host shows no numbers of that tenant', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  const registry: TenantRegistry = memoryRegistry([{ id: 'a', slug: 'acme' }, { id: 'b', slug: 'globex' }])
  await app.register(tenantResolver, {
    baseDomain: 'example.com',
    registry,
    claim: request => {
      const claim = request.headers['x-claim']
      if (claim === 'throws') throw new Error('no user yet')
      return claim as string | undefined
    }
  })
  await app.register(tenantRateLimit, { limits: { default: { rpm: 3 } } })
  app.get('/', request => request.tenant.slug)
  app.get('/free', { config: { tenancy: { agreement: false } } }, request => request.tenant.slug)
  const ask = async (
    claim: string | undefined,
    url = '/'
  ): Promise<{ status: number; numbers: string[]; retryAfter: unknown }> => {
    const { statusCode, headers } = await app.inject({
      url,
      headers: { ...acme, ...(claim !== undefined && { 'x-claim': claim }) }
    })
    return {
      status: statusCode,
      numbers: Object.keys(headers).filter(name => name.includes('ratelimit')),
      retryAfter: headers['retry-after']
    }
  }
  t.match(await ask('globex'), { status: 403, numbers: { length: 0 } })
  t.equal((await ask('acme')).numbers.length, 5, 'control: who belongs there sees them')
  await ask('acme')
  for (const claim of ['globex', 'b', undefined, 'throws'])
    t.match(await ask(claim), { status: 429, numbers: { length: 0 }, retryAfter: /^\d+$/ }, String(claim))
  for (const claim of ['acme', 'a']) t.match(await ask(claim), { status: 429, numbers: { length: 5 } }, claim)
  t.match(
    await ask(undefined, '/free'),
    { status: 429, numbers: { length: 5 } },
    'a route that checks no agreement'
  )
})
