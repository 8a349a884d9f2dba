import t from 'tap'

import { parseHost } from '@fastify-tenancy/core/names'
import { answersIn, CountingRegistry, raw, start } from './app.ts'

t.test('RES-01 a subdomain of the base domain is its tenant', async t => {
  const { app, registry } = await start(t)
  const response = await app.inject({ url: '/', headers: { host: 'acme.example.com' } })
  t.same(response.json(), { slug: 'acme', source: 'subdomain' })
  t.same(registry.asked, ['acme'])
})

t.test('RES-02 case, port and one final dot make no difference, and no second look-up', async t => {
  const { who, registry } = await start(t)
  for (
    const host of ['ACME.Example.COM:8080', 'acme.example.com.', 'acme.example.com.:443', 'acme.example.com',
      'acme.EXAMPLE.com:1']
  ) t.equal(await who(host), 'acme', host)
  t.equal(registry.reads, 1)
  t.equal(await who('acme.example.com..'), 'HOST_INVALID')
})

t.test('RES-03 a host that resembles the base domain has no tenant, after one look-up at most', async t => {
  const { who, registry } = await start(t)
  const hosts = ['acme.example.com.evil.com', 'evilexample.com', 'acmeexample.com', 'acme.example.org',
    'example.com.acme', 'acme']
  for (const host of [...hosts, ...hosts]) t.equal(await who(host), 'TENANT_UNKNOWN', host)
  t.same(registry.asked, hosts.slice(0, -1), 'each once, and a bare label never')
})

t.test('RES-03 a host of one label has no tenant, also after that slug was served', async t => {
  const { app, who } = await start(t)
  t.equal(await who('acme.example.com'), 'acme')
  for (const host of ['acme', 'ACME', 'acme.', 'acme:8080']) t.equal(await who(host), 'TENANT_UNKNOWN', host)
  t.notOk(await app.tenantResolver.isKnownHost('acme'))
})

t.test('RES-04 a nested name has no tenant and is not looked up', async t => {
  const { who, registry } = await start(t)
  for (
    const host of ['a.b.example.com', 'acme.globex.example.com', 'www.acme.example.com',
      'a.example.com.example.com']
  ) t.equal(await who(host), 'TENANT_UNKNOWN', host)
  t.equal(registry.reads, 0)
})

t.test('RES-05 the base domain and reserved labels name no tenant', async t => {
  const { app, who, registry } = await start(t, {}, app => {
    app.get(
      '/public',
      { config: { tenancy: 'optional' } },
      async request => ({ hasTenant: request.tenant !== undefined })
    )
  })
  for (
    const host of ['example.com', 'www.example.com', 'api.example.com', 'app.example.com',
      'WWW.example.com.:80']
  ) {
    t.equal(await who(host), 'TENANT_MISSING', host)
    t.same((await app.inject({ url: '/public', headers: { host } })).json(), { hasTenant: false }, host)
  }
  t.equal((await app.inject({ url: '/', headers: { host: 'www.example.com' } })).statusCode, 400)
  t.equal(registry.reads, 0)
})

t.test('RES-06 HTTP/1.0 without Host and an empty Host are 400 without a look-up', async t => {
  const { app, registry } = await start(t)
  t.same(answersIn(await raw(app, 'GET / HTTP/1.0\r\n\r\n')), ['400 HOST_INVALID'])
  t.same(answersIn(await raw(app, 'GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n')), [
    '400 HOST_INVALID'
  ])
  t.same(answersIn(await raw(app, 'GET / HTTP/1.1\r\nHost:   \r\nConnection: close\r\n\r\n')), [
    '400 HOST_INVALID'
  ])
  t.equal(registry.reads, 0)
})

t.test('RES-09 FLD-02 a malformed host is 400 before any key is built', async t => {
  const { app, who, registry } = await start(t)
  const bad = ['a@b.example.com', 'acme@evil.com', 'a/../b.example.com', 'a, b',
    'acme.example.com, globex.example.com', 'ac me.example.com', 'acme.example.com\tx', 'acme.example.com/',
    'acme.example.com?', 'acme.example.com#', 'acme\\.example.com', '..', '.', '.example.com',
    'acme..example.com', 'acme.example.com:', 'acme.example.com:80:80', 'acme.example.com:x',
    'acme.example.com:0', 'acme.example.com:65536', 'acme.example.com:-1', ':80', '%61cme.example.com',
    'acmé.example.com', 'acme.example.com;', "acme'.example.com", '*.example.com', '{acme}.example.com',
    'acme:x.example.com']
  for (const host of bad) {
    t.equal(parseHost(host), undefined, host)
    if (!/é/.test(host)) t.equal(await who(host), 'HOST_INVALID', host)
  }
  t.same(
    answersIn(await raw(app, 'GET / HTTP/1.1\r\nHost: acm\xe9.example.com\r\nConnection: close\r\n\r\n')),
    ['400 HOST_INVALID']
  )
  t.equal(registry.reads, 0)
  t.same(app.tenantResolver.health(), {
    status: 'ok',
    registry: 'ok',
    tenants: 0,
    unknown: 0,
    registryReads: 0,
    registryFailures: 0,
    droppedRecords: 0
  })
})

t.test('RES-09 two Host headers, and a target that disagrees with Host, are 400', async t => {
  const { app, registry } = await start(t)
  const send = async (...lines: string[]): Promise<string> =>
    answersIn(await raw(app, [...lines, 'Connection: close', '', ''].join('\r\n'))).join()
  t.equal(
    await send('GET / HTTP/1.1', 'Host: acme.example.com', 'Host: globex.example.com'),
    '400 HOST_INVALID'
  )
  t.equal(
    await send('GET / HTTP/1.1', 'Host: acme.example.com', 'hOsT: acme.example.com'),
    '400 HOST_INVALID'
  )
  t.equal(await send('GET http://globex.example.com/ HTTP/1.1', 'Host: acme.example.com'), '400 HOST_INVALID')
  t.equal(await send('GET http://x@acme.example.com/ HTTP/1.1', 'Host: acme.example.com'), '400 HOST_INVALID')
  t.equal(registry.reads, 0)
  t.equal(
    await send('GET http://ACME.example.com:80/ HTTP/1.1', 'Host: acme.example.com'),
    '200 acme',
    'a target that agrees'
  )
})

t.test('RES-12 names of object properties name no tenant and pollute nothing', async t => {
  const { who } = await start(t)
  for (
    const label of ['__proto__', 'constructor', 'hasownproperty', 'tostring', 'hasOwnProperty', 'toString',
      'prototype', 'valueof', '__defineGetter__']
  ) {
    t.equal(await who(`${label}.example.com`), 'TENANT_UNKNOWN', label)
    t.equal(await who(`${label}.example.com`), 'TENANT_UNKNOWN', label)
  }
  t.equal(({} as Record<string, unknown>)['acme'], undefined)
})

t.test('RES-13 a label of 64 and a host of 300 characters are 400', async t => {
  const { who, registry } = await start(t)
  t.equal(await who(`${'a'.repeat(64)}.example.com`), 'HOST_INVALID')
  t.equal(await who(`example.${'a'.repeat(64)}`), 'HOST_INVALID')
  t.equal(await who(`${'a.'.repeat(150)}example.com`), 'HOST_INVALID')
  t.equal(await who(`${'a.'.repeat(122)}example.com`), 'HOST_INVALID', '253 characters are the most')
  t.equal(await who(`${'a.'.repeat(121)}example.com`), 'TENANT_UNKNOWN')
  t.equal(registry.reads, 0)
  t.equal(await who(`${'a'.repeat(63)}.example.com`), 'TENANT_UNKNOWN')
  t.equal(registry.reads, 1)
})

t.test('RES-14 a label that cannot be a slug is unknown without a look-up', async t => {
  const { who, registry } = await start(t)
  for (
    const label of ['a_b', '-acme', 'acme-', '123', 'xn--bcher-kva', 'ab--cd',
      '0190f2a4-0000-7000-8000-000000000000']
  ) t.equal(await who(`${label}.example.com`), 'TENANT_UNKNOWN', label)
  t.equal(registry.reads, 0)
})

t.test('RES-15 an IP address in any form names no tenant', async t => {
  const { who, registry } = await start(t)
  for (
    const host of ['127.0.0.1', '127.0.0.1:3000', '[::1]:80', '[::1]', '::1', '127.1', '2130706433',
      '0x7f000001', '0x7f.1', '0177.0.0.1', '127.0.0.1.', '1.2.3.0x']
  ) t.equal(await who(host), 'HOST_INVALID', host)
  t.equal(registry.reads, 0)
})

t.test('RES-19 nothing but the host says whose request it is', async t => {
  const { app } = await start(t, {}, app => {
    app.post('/', request => ({ slug: request.tenant.slug }))
  })
  const response = await app.inject({
    method: 'POST',
    url: '/?tenant=globex&tenant_id=t-globex',
    headers: {
      host: 'acme.example.com',
      'x-tenant': 'globex',
      'x-tenant-id': 't-globex',
      cookie: 'tenant=globex',
      forwarded: 'host=globex.example.com',
      'x-original-host': 'globex.example.com'
    },
    payload: { tenant_id: 't-globex', tenant: 'globex' }
  })
  t.same(response.json(), { slug: 'acme' })
})

t.test('RES-22 pipelined requests of one connection each get their own tenant', async t => {
  const { app } = await start(t)
  const hosts = ['acme', 'globex', 'nosuch', 'acme', 'www', 'globex'].map(slug => `${slug}.example.com`)
  const text = await raw(
    app,
    hosts.map((host, at) =>
      `GET / HTTP/1.1\r\nHost: ${host}\r\n${at === hosts.length - 1 ? 'Connection: close\r\n' : ''}\r\n`
    ).join('')
  )
  t.same(answersIn(text), ['200 acme', '200 globex', '404 TENANT_UNKNOWN', '200 acme', '400 TENANT_MISSING',
    '200 globex'])
})

t.test('CTX-07 inject() without Host is treated like a socket request without it', async t => {
  const { app } = await start(t)
  t.equal((await app.inject('/')).json().code, 'FST_TENANCY_TENANT_UNKNOWN')
  t.same(answersIn(await raw(app, 'GET / HTTP/1.1\r\nHost: localhost:80\r\nConnection: close\r\n\r\n')), [
    '404 TENANT_UNKNOWN'
  ])
  const local = await start(t, { baseDomain: 'localhost' })
  t.equal((await local.app.inject('/')).json().code, 'FST_TENANCY_TENANT_MISSING')
  t.equal(await local.who('acme.localhost:3000'), 'acme')
  t.equal((await local.app.inject('http://acme.localhost/')).json().slug, 'acme')
})

t.test("a refusal has the contract's body and does not name the host", async t => {
  const { app, registry } = await start(t, { registry: new CountingRegistry() })
  const body = async (host: string): Promise<unknown> =>
    (await app.inject({ url: '/', headers: { host } })).json()
  t.same(await body('secret-name.example.com'), {
    statusCode: 404,
    code: 'FST_TENANCY_TENANT_UNKNOWN',
    error: 'Not Found',
    message: 'There is no such tenant'
  })
  t.same(await body('a@b'), {
    statusCode: 400,
    code: 'FST_TENANCY_HOST_INVALID',
    error: 'Bad Request',
    message: 'The host of this request is not valid'
  })
  registry.failure = new Error('connect ECONNREFUSED 10.1.2.3:5432 password=hunter2')
  const down = await app.inject({ url: '/', headers: { host: 'globex.example.com' } })
  t.same(down.json(), {
    statusCode: 503,
    code: 'FST_TENANCY_REGISTRY_UNAVAILABLE',
    error: 'Service Unavailable',
    message: 'The tenant cannot be looked up at the moment'
  })
  t.equal(down.headers['retry-after'], '1')
})
