import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'

import { start } from './app.ts'

const claim = (request: FastifyRequest): string | undefined => (request as { org?: string }).org

// Stands for the application's authentication, which puts the verified claims on the request.
async function authenticate (request: FastifyRequest): Promise<void> {
  const org = request.headers.authorization
  if (org !== undefined) Object.assign(request, { org })
}

function get (
  app: FastifyInstance,
  url: string,
  host: string,
  org?: string
): Promise<{ statusCode: number; body: string; code: string }> {
  return app.inject({ url, headers: { host, ...(org && { authorization: org }) } }).then(response => {
    const body: { code?: string } = response.json()
    return {
      statusCode: response.statusCode,
      body: response.body,
      code: (body.code ?? '').replace('FST_TENANCY_', '')
    }
  })
}

t.test('AGR-01 host and claim must name the same tenant, wherever authentication sets the claim', async t => {
  for (const hook of ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const) {
    let handled = 0
    const { app } = await start(t, { claim }, app => {
      app.get('/me', { [hook]: authenticate }, async request => {
        handled++
        return { slug: request.tenant.slug }
      })
    })
    t.equal((await get(app, '/me', 'acme.example.com', 't-acme')).statusCode, 200, hook)
    t.equal((await get(app, '/me', 'acme.example.com', 'acme')).statusCode, 200, 'a slug will do')
    t.equal(handled, 2)
    t.equal(
      (await get(app, '/me', 'acme.example.com', 't-globex')).code,
      'TENANT_MISMATCH',
      `${hook}: another's token`
    )
    t.equal((await get(app, '/me', 'acme.example.com')).code, 'TENANT_MISMATCH', `${hook}: no token`)
    t.equal(handled, 2, 'the handler did not run')
  }
})

t.test('AGR-01 a global hook after the plugin may authenticate as well', async t => {
  const { app } = await start(t, { claim }, app => {
    app.addHook('preHandler', authenticate)
  })
  t.equal((await get(app, '/', 'acme.example.com', 't-acme')).statusCode, 200)
  t.equal((await get(app, '/', 'acme.example.com', 't-globex')).statusCode, 403)
})

t.test("agreement: false admits other tenants' users, and an optional route needs no claim", async t => {
  const { app } = await start(t, { claim }, app => {
    app.addHook('onRequest', authenticate)
    app.get(
      '/login',
      { config: { tenancy: { agreement: false } } },
      request => ({ slug: request.tenant.slug })
    )
    app.get('/open', { config: { tenancy: 'optional' } }, async request => ({ slug: request.tenant?.slug }))
    app.get('/off', { config: { tenancy: 'off' } }, async () => ({ ok: true }))
  })
  t.equal((await get(app, '/login', 'acme.example.com')).statusCode, 200)
  t.equal((await get(app, '/login', 'acme.example.com', 't-globex')).body, '{"slug":"acme"}')
  t.equal((await get(app, '/open', 'acme.example.com')).body, '{"slug":"acme"}')
  t.equal((await get(app, '/open', 'acme.example.com', 't-globex')).statusCode, 403)
  t.equal((await get(app, '/open', 'example.com')).body, '{}')
  t.equal((await get(app, '/off', 'acme.example.com', 't-globex')).statusCode, 200)
})

t.test('a claim that is no string is no claim, and one that throws is an error', async t => {
  const { app } = await start(t, {
    claim: request => {
      const kind = request.headers.authorization
      if (kind === 'throw') throw Object.assign(new Error('bad token'), { statusCode: 401 })
      return kind === 'number' ? 7 as unknown as string : kind === 'null' ? null as unknown as string : ''
    }
  })
  for (const kind of ['number', 'null', 'empty'])
    t.equal((await get(app, '/', 'acme.example.com', kind)).statusCode, 403, kind)
  t.equal((await get(app, '/', 'acme.example.com', 'throw')).statusCode, 401)
})

t.test('AGR-01 with strategy claim no tenant exists before the claim is verified', async t => {
  const seen: string[] = []
  const { app } = await start(t, { strategies: ['claim'], claim }, app => {
    app.addHook('onRequest', authenticate)
    app.addHook('preValidation', async (request: FastifyRequest, _reply: FastifyReply) => {
      seen.push(String(request.tenant))
    })
    app.get(
      '/optional',
      { config: { tenancy: 'optional' } },
      async request => ({ slug: request.tenant?.slug })
    )
  })
  t.match(await get(app, '/', 'anything', 't-acme'), { body: '{"slug":"acme","source":"claim"}' })
  t.same(seen, ['undefined'])
  t.equal((await get(app, '/', 'anything', 'globex')).statusCode, 200)
  t.equal((await get(app, '/', 'anything', 't-nobody')).code, 'TENANT_UNKNOWN')
  t.equal((await get(app, '/', 'anything')).code, 'TENANT_MISMATCH')
  t.equal((await get(app, '/optional', 'anything')).body, '{}')
  t.equal((await get(app, '/optional', 'anything', 't-acme')).body, '{"slug":"acme"}')
})

t.test('subdomain then claim: the host names the tenant, and the claim does on the base domain', async t => {
  const { app } = await start(
    t,
    { strategies: ['subdomain', 'claim'], baseDomain: 'example.com', claim },
    app => {
      app.addHook('onRequest', authenticate)
    }
  )
  t.match(await get(app, '/', 'acme.example.com', 't-acme'), { body: '{"slug":"acme","source":"subdomain"}' })
  t.match(await get(app, '/', 'example.com', 't-acme'), { body: '{"slug":"acme","source":"claim"}' })
  t.equal((await get(app, '/', 'globex.example.com', 't-acme')).statusCode, 403)
  t.equal((await get(app, '/', 'nosuch.example.com', 't-acme')).statusCode, 404)
})

t.test('AGR-01 an unmatched URL answers 404, but its handler has no tenant without the claim', async t => {
  const { app } = await start(t, { claim }, app => {
    app.setNotFoundHandler(async (request, reply) => {
      reply.code(404)
      return {
        tenant: String(request.tenant),
        touched: request.headers['x-touch'] ? request.tenancy.requireScope().tenant.slug : 'nothing'
      }
    })
  })
  t.match(await get(app, '/nowhere', 'acme.example.com'), {
    statusCode: 404,
    body: '{"tenant":"undefined","touched":"nothing"}'
  })
  const touching = await app.inject({
    url: '/nowhere',
    headers: { host: 'acme.example.com', 'x-touch': '1' }
  })
  t.equal(touching.json().code, 'FST_TENANCY_TENANT_MISMATCH')
})

t.test('a claim that cannot be looked up is 503, not 403', async t => {
  const { app, registry } = await start(t, { strategies: ['claim'], claim }, app => {
    app.addHook('onRequest', authenticate)
  })
  registry.failure = new Error('down')
  t.equal((await get(app, '/', 'anything', 't-acme')).code, 'REGISTRY_UNAVAILABLE')
})
