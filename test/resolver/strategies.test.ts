import Fastify, { type FastifyServerOptions } from 'fastify'
import t from 'tap'

import { resolveTenancyOptions } from '../../packages/fastify-tenancy/src/options.ts'
import { HostPatterns } from '@fastify-tenancy/core/names'
import { resolveResolverOptions } from '../../packages/resolver/src/options.ts'
import { boot, CountingRegistry, start } from './app.ts'

t.test('a pattern with {any} names only its own tenant', async t => {
  const patterns = new HostPatterns(['{tenant}.example.com', '{tenant}--{any}.preview.dev',
    '{tenant}.eu.example.com', '{any}-for-{tenant}.demo.dev', 'app.{tenant}.nested.dev'])
  const cases: Record<string, string | undefined> = {
    'acme.example.com': 'acme',
    'acme--main.preview.dev': 'acme',
    'acme--main--2.preview.dev': 'acme',
    'acme-x--globex.preview.dev': 'acme-x',
    'acme.preview.dev': undefined,
    '--main.preview.dev': undefined,
    'acme--.preview.dev': undefined,
    'a.acme--main.preview.dev': undefined,
    'a.b.example.com': undefined,
    'acme.eu.example.com': 'acme',
    'eu.example.com': undefined,
    'x-for-y-for-acme.demo.dev': 'acme',
    'app.acme.nested.dev': 'acme',
    'api.acme.nested.dev': undefined,
    'app.acmexnested.dev': undefined
  }
  for (const [host, label] of Object.entries(cases)) t.equal(patterns.labelOf(host), label, host)
  t.ok(patterns.covers('x.y.preview.dev'))
  t.notOk(patterns.covers('xpreview.dev'))
})

t.test('an invalid pattern stops the boot', async t => {
  for (
    const bad of ['example.com', '{tenant}', '{tenant}.', '{tenant}.{tenant}.com', '{any}.example.com',
      '{tenant}.example.com:80', '{tenant}{any}.example.com', 'https://{tenant}.example.com',
      '{tenant}.10.0.0.1', '{tenant}.{any}', '*.example.com', '{slug}.example.com', '']
  ) {
    t.throws(() => new HostPatterns([bad]), { code: 'FST_TENANCY_OPTION_INVALID' }, bad)
  }
})

t.test("an invalid base domain or pattern is refused by its option's name", async t => {
  const registry = new CountingRegistry()
  for (
    const bad of ['https://example.com', 'example.com:80', 'example.com.', 'a b', '{tenant}.example.com',
      '10.0.0.1', '-..']
  ) {
    t.throws(() => resolveResolverOptions({ registry, baseDomain: bad }), {
      code: 'FST_TENANCY_OPTION_INVALID',
      message: /^options\.baseDomain must be a domain/
    }, bad)
  }
  t.throws(() => resolveResolverOptions({ registry, hosts: ['{tenant}.example.com', 'x'] }), {
    message: /^options\.hosts\.1 must be a host with one \{tenant\}/
  })
  t.throws(() => resolveTenancyOptions({ baseDomain: 'a b', database: 'postgres://host/db' }), {
    message: /^options\.baseDomain must be a domain/
  })
  t.throws(() => resolveTenancyOptions({ hosts: ['x'], database: 'postgres://host/db' }), {
    message: /^options\.hosts\.0 must be a host/
  })
  t.same(resolveResolverOptions({ registry, baseDomain: 'Example.com' }).hosts, ['{tenant}.Example.com'])
})

t.test('hosts with {any} are served, and a tenant behind a base domain is never a custom domain', async t => {
  const registry = new CountingRegistry([{
    id: '1',
    slug: 'acme',
    domains: ['evil.preview.dev', 'preview.dev', 'shop.acme.com']
  }])
  const { who } = await start(t, { hosts: ['{tenant}--{any}.preview.dev'], registry })
  t.equal(await who('acme--pr-7.preview.dev'), 'acme')
  t.equal(await who('shop.acme.com'), 'acme')
  t.equal(await who('evil.preview.dev'), 'TENANT_UNKNOWN')
  t.equal(await who('preview.dev'), 'TENANT_MISSING')
  t.equal(await who('www--x.preview.dev'), 'TENANT_MISSING')
  t.same(registry.asked, ['acme', 'shop.acme.com'])
})

t.test('a custom domain names its tenant only if the strategy is listed', async t => {
  const both = await start(t)
  t.same((await both.app.inject({ url: '/', headers: { host: 'ACME.shop.:443' } })).json(), {
    slug: 'acme',
    source: 'domain'
  })
  t.equal(await both.who('acme_.shop'), 'TENANT_UNKNOWN')
  const subdomain = await start(t, { strategies: ['subdomain'], baseDomain: 'example.com' })
  t.equal(await subdomain.who('acme.shop'), 'TENANT_UNKNOWN')
  t.equal(subdomain.registry.reads, 0)
  const domain = await start(t, { strategies: ['domain'], baseDomain: 'example.com' })
  t.equal(await domain.who('acme.shop'), 'acme')
  t.equal(await domain.who('acme.example.com'), 'TENANT_MISSING')
})

t.test('RES-16 X-Forwarded-Host is ignored unless it is asked for', async t => {
  const { who } = await start(t)
  t.equal(await who('acme.example.com', { 'x-forwarded-host': 'globex.example.com' }), 'acme')
  const trusting = await start(t, {}, undefined, { trustProxy: '127.0.0.1' })
  t.equal(
    await trusting.who('acme.example.com', { 'x-forwarded-host': 'globex.example.com' }),
    'acme',
    'trustProxy alone does not ask for it'
  )
})

t.test('RES-17 X-Forwarded-Host counts only from a trusted peer, by its last value', async t => {
  const { app, who } = await start(t, { trustForwardedHost: true }, undefined, { trustProxy: '10.0.0.0/8' })
  t.equal(
    await who('acme.example.com', { 'x-forwarded-host': 'globex.example.com' }),
    'acme',
    'the peer is 127.0.0.1'
  )
  const from = async (remoteAddress: string, forwarded: string, host = 'internal:3000'): Promise<string> => {
    const body: { slug?: string; code?: string } =
      (await app.inject({ url: '/', remoteAddress, headers: { host, 'x-forwarded-host': forwarded } })).json()
    return body.slug ?? body.code ?? ''
  }
  t.equal(await from('10.1.2.3', 'globex.example.com', '10.9.9.9:3000'), 'globex')
  t.equal(await from('10.1.2.3', 'acme.example.com, globex.example.com'), 'globex')
  t.equal(await from('10.1.2.3', 'acme.example.com, '), 'FST_TENANCY_HOST_INVALID')
  t.equal(await from('10.1.2.3', 'a@globex.example.com'), 'FST_TENANCY_HOST_INVALID')
  t.equal(await from('11.1.2.3', 'globex.example.com', 'acme.example.com'), 'acme')
})

t.test('trustForwardedHost without addresses to trust stops the boot', async t => {
  for (const trustProxy of [true, false, 1, undefined]) {
    const app = Fastify({ ...(trustProxy !== undefined && { trustProxy }) } as FastifyServerOptions)
    await t.rejects(boot(app, { trustForwardedHost: true }), {
      code: 'FST_TENANCY_OPTION_INVALID',
      message: /trustProxy: '10\.0\.0\.0\/8'/
    }, String(trustProxy))
    await app.close().catch(() => {})
  }
})

t.test('a header names the tenant where it is listed, in the order of the list', async t => {
  const { who, registry } = await start(t, { strategies: ['header', 'subdomain'], baseDomain: 'example.com' })
  t.equal(await who('acme.example.com', { 'x-tenant': 'globex' }), 'globex')
  t.equal(await who('acme.example.com'), 'acme')
  t.equal(
    await who('10.0.0.1', { 'x-tenant': 'globex' }),
    'globex',
    'the host is not read when it is not needed'
  )
  await registry.inner.findById('t-acme')
  const reads = registry.reads
  for (
    const bad of ['id:t-acme', 'acme.shop', 'ACME', 'www', 'acme, globex', '__proto__', 'a'.repeat(64),
      't_acme']
  ) t.equal(await who('acme.example.com', { 'x-tenant': bad }), 'TENANT_UNKNOWN', bad)
  t.equal(registry.reads, reads)
  const other = await start(t, { strategies: ['header'], header: 'X-Org' })
  t.equal(await other.who('whatever', { 'x-org': 'acme' }), 'acme')
  t.equal(await other.who('whatever', { 'x-tenant': 'acme' }), 'TENANT_MISSING')
})

t.test('a key of one kind of name never answers for another', async t => {
  const { app, who } = await start(t, {
    strategies: ['header', request =>
      request.headers['x-id'] ? { id: String(request.headers['x-id']) } : undefined, 'domain']
  })
  t.equal(await who('x', { 'x-id': 't-acme' }), 'acme')
  t.equal(await who('acme.shop'), 'acme')
  for (const name of ['id:t-acme', 't-acme', 'acme.shop'])
    t.equal(await who('x', { 'x-tenant': name }), 'TENANT_UNKNOWN', name)
  t.equal(await who('x', { 'x-id': 'acme' }), 'TENANT_UNKNOWN')
  t.equal(await app.tenantResolver.find({ slug: 'id:t-acme' }), undefined)
  t.equal(await app.tenantResolver.find({ slug: 'acme.shop' }), undefined)
})

t.test('a route parameter names the tenant, and unmatched URLs name none', async t => {
  const { app } = await start(t, { strategies: ['path'] }, app => {
    app.get('/t/:tenant/me', request => ({ slug: request.tenant.slug, source: request.tenantSource }))
  })
  t.same((await app.inject('/t/acme/me')).json(), { slug: 'acme', source: 'path' })
  t.equal((await app.inject('/t/nosuch/me')).statusCode, 404)
  t.equal((await app.inject('/t/acme%2Fx/me')).json().code, 'FST_TENANCY_TENANT_UNKNOWN')
  t.equal((await app.inject('/nowhere')).json().code, 'FST_TENANCY_TENANT_MISSING')
})

t.test('a function names the tenant by slug, id or domain, and its error is the reply', async t => {
  const { who } = await start(t, {
    strategies: [request => {
      const by = request.headers['x-by']
      if (by === 'slug') return { slug: 'acme' }
      if (by === 'id') return { id: 't-globex' }
      if (by === 'domain') return { domain: 'ACME.shop' }
      if (by === 'base') return { domain: 'acme.example.com' }
      if (by === 'bad') return { slug: '' }
      if (by === 'throw') throw Object.assign(new Error('no'), { statusCode: 418, code: 'TEAPOT' })
      return undefined
    }, 'subdomain'],
    baseDomain: 'example.com'
  })
  t.equal(await who('globex.example.com', { 'x-by': 'slug' }), 'acme')
  t.equal(await who('acme.example.com', { 'x-by': 'id' }), 'globex')
  t.equal(await who('globex.example.com', { 'x-by': 'domain' }), 'acme')
  t.equal(await who('globex.example.com', { 'x-by': 'base' }), 'TENANT_UNKNOWN')
  t.equal(await who('globex.example.com', { 'x-by': 'bad' }), 'TENANT_UNKNOWN')
  t.equal(await who('globex.example.com', { 'x-by': 'throw' }), 'TEAPOT')
  t.equal(await who('globex.example.com'), 'globex')
})

t.test("a function's invalid result is a clear error, and null means no tenant", async t => {
  const { app } = await start(t, {
    baseDomain: 'example.com',
    strategies: [request => {
      const by = request.headers['x-by']
      const answers: Record<string, unknown> = {
        promise: Promise.resolve({ slug: 'acme' }),
        text: 'acme',
        null: null
      }
      return answers[String(by)] as undefined
    }, 'subdomain']
  })
  const ask = (by: string): Promise<{ statusCode: number; body: string }> =>
    app.inject({ url: '/', headers: { host: 'globex.example.com', 'x-by': by } })
  for (const by of ['promise', 'text']) {
    const { statusCode, body } = await ask(by)
    t.equal(statusCode, 500, by)
    t.match(
      body,
      /a strategy function must return \{ slug \}, \{ id \}, \{ domain \} or undefined, and not a promise/,
      by
    )
  }
  t.match(await ask('null'), { statusCode: 200, body: /globex/ })
})

t.test('no function can name a domain below a base domain', async t => {
  const registry = new CountingRegistry([{ id: '1', slug: 'evil', domains: ['acme.example.com'] }])
  const { who } = await start(t, {
    registry,
    baseDomain: 'example.com',
    strategies: [() => ({ domain: 'acme.example.com' })]
  })
  t.equal(await who('whatever'), 'TENANT_UNKNOWN')
})

t.test('a fallback serves only hosts without a tenant', async t => {
  const { app, who } = await start(t, { fallback: 'acme' })
  t.same((await app.inject('/')).json(), { slug: 'acme', source: 'fallback' })
  t.equal(await who('example.com'), 'acme')
  t.equal(await who('other.org'), 'acme')
  t.equal(await who('globex.example.com'), 'globex')
  t.equal(await who('nosuch.example.com'), 'TENANT_UNKNOWN')
  t.equal(await who('a.b.example.com'), 'TENANT_UNKNOWN')
  t.equal(await who('a@b'), 'HOST_INVALID')
})

t.test('a fallback in production stops the boot', async t => {
  const before = process.env['NODE_ENV']
  t.teardown(() => {
    if (before === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = before
  })
  process.env['NODE_ENV'] = 'production'
  await t.rejects(boot(Fastify(), { fallback: 'acme' }), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /fallback must not be set/
  })
})
