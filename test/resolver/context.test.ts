import type { FastifyInstance, FastifyRequest } from 'fastify'
import Fastify from 'fastify'
import fp from 'fastify-plugin'
import { AsyncResource } from 'node:async_hooks'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'

import { currentScope, currentTenant, type TenantScope } from '@fastify-tenancy/core'
import { until } from '../support/until.ts'
import { CountingRegistry, raw, start } from './app.ts'

const slugs = ['acme', 'globex', 'initech', 'umbrella', 'hooli', 'stark', 'wayne']
const seven = (): CountingRegistry => new CountingRegistry(slugs.map(slug => ({ id: `t-${slug}`, slug })))

const inFlight = 300

/**
 * A route `/echo` that returns the tenant of each of its steps. `allHere` resolves when all
 * requests of a storm have begun.
 */
function echo (
  app: FastifyInstance,
  who: (request: FastifyRequest) => (string | undefined)[]
): Promise<void> {
  const { promise: allHere, resolve } = Promise.withResolvers<void>()
  let here = 0
  app.post('/echo', {
    async onRequest () {
      if (++here === inFlight) resolve()
    }
  }, async request => {
    const seen = [...who(request), (request.body as { slug: string }).slug]
    await setImmediate()
    seen.push(...who(request))
    return { seen }
  })
  return allHere
}

// Sends the second half of every body after the first halves of all have arrived.
async function post (app: FastifyInstance, slug: string, allHere: Promise<void>): Promise<string[]> {
  const { port } = app.server.address() as AddressInfo
  const body = JSON.stringify({ slug, filler: 'x'.repeat(100_000) })
  const request = httpRequest({
    port,
    host: '127.0.0.1',
    method: 'POST',
    path: '/echo',
    headers: { host: `${slug}.example.com`, 'content-type': 'application/json' }
  })
  request.write(body.slice(0, body.length / 2))
  await allHere
  request.end(body.slice(body.length / 2))
  const [response] = await once(request, 'response') as [IncomingMessage]
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += String(chunk)
  return (JSON.parse(text) as { seen: string[] }).seen
}

// Returns the replies to requests of seven tenants in which any step saw another tenant.
async function storm (app: FastifyInstance, allHere: Promise<void>): Promise<string[]> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  const wrong: string[] = []
  await Promise.all(Array.from({ length: inFlight }, async (_, at) => {
    const slug = slugs[at % slugs.length] as string
    const seen = await post(app, slug, allHere)
    if (seen.some(name => name !== slug)) wrong.push(`${slug}: ${seen.join()}`)
  }))
  return wrong
}

t.test('CTX-01 300 concurrent requests of 7 tenants with large bodies see only their tenant', async t => {
  let allHere: Promise<void> | undefined
  const { app } = await start(t, { registry: seven() }, app => {
    allHere = echo(
      app,
      request => [request.tenant.slug, currentTenant()?.slug,
        currentScope() === request.tenancy.scope ? request.tenant.slug : 'another scope']
    )
  })
  t.same(await storm(app, allHere as Promise<void>), [])
})

t.test('CTX-01 control: a tenant kept in a variable of the module is caught by the same storm', async t => {
  let current: string | undefined
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fp(async instance => {
    instance.addHook('onRequest', async request => {
      current = request.headers.host?.split('.')[0]
    })
  }))
  t.ok((await storm(app, echo(app, () => [current]))).length > 200)
})

t.test('CTX-03 the tenant is right in every hook, and after an error', async t => {
  const seen: Record<string, string[]> = {}
  const note = (hook: string, request: FastifyRequest): void => {
    ;(seen[hook] ??= []).push(`${request.headers['x-slug'] as string}=${request.tenant.slug}`)
  }
  const { app } = await start(t, { registry: seven() }, app => {
    app.addHook('preParsing', async request => {
      note('preParsing', request)
    })
    app.addHook('preValidation', async request => {
      note('preValidation', request)
    })
    app.addHook('preHandler', async request => {
      note('preHandler', request)
    })
    app.addHook('preSerialization', async request => {
      note('preSerialization', request)
    })
    app.addHook('onSend', async request => {
      note('onSend', request)
    })
    app.addHook('onError', async request => {
      note('onError', request)
    })
    app.addHook('onResponse', async request => {
      note('onResponse', request)
    })
    app.post('/work', async request => {
      await setImmediate()
      if ((request.body as { fail?: boolean }).fail) throw new Error('no')
      return { ok: true }
    })
  })
  await Promise.all(
    slugs.flatMap(slug =>
      [true, false].map(fail =>
        app.inject({
          method: 'POST',
          url: '/work',
          headers: { host: `${slug}.example.com`, 'x-slug': slug },
          payload: { fail }
        })
      )
    )
  )
  t.same(Object.keys(seen).toSorted(), ['onError', 'onResponse', 'onSend', 'preHandler', 'preParsing',
    'preSerialization', 'preValidation'])
  for (const [hook, pairs] of Object.entries(seen)) {
    t.ok(pairs.length >= slugs.length, hook)
    t.ok(pairs.every(pair => pair.split('=')[0] === pair.split('=')[1]), `${hook}: ${pairs.join()}`)
  }
})

t.test('CTX-01 the context exists from the first hook on, also where a hook lost it', async t => {
  const elsewhere = new AsyncResource('elsewhere')
  const seen: (string | undefined)[] = []
  const { app } = await start(t, {}, app => {
    app.addHook('onRequest', async () => {
      seen.push(currentTenant()?.slug)
    })
    app.addHook('preParsing', (_request, _reply, _payload, done) => {
      elsewhere.runInAsyncScope(done)
    })
    app.addHook('preParsing', async () => {
      seen.push(currentTenant()?.slug)
    })
    app.addHook('preValidation', async () => {
      seen.push(currentTenant()?.slug)
    })
    app.get('/context', async () => ({ slug: currentTenant()?.slug }))
  })
  t.same((await app.inject({ url: '/context', headers: { host: 'acme.example.com' } })).json(), {
    slug: 'acme'
  })
  t.same(seen, ['acme', undefined, 'acme'])
  t.equal(currentTenant(), undefined)
})

t.test('CTX-03 after an abort the hook has the tenant, and the scope is closed', async t => {
  const aborted: string[] = []
  let scope: TenantScope | undefined
  const { app } = await start(t, {}, app => {
    app.addHook('onRequestAbort', async request => {
      aborted.push(request.tenant.slug)
    })
    app.get('/hang', request => {
      scope = request.tenancy.scope
      return new Promise(() => {})
    })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.write('GET /hang HTTP/1.1\r\nHost: acme.example.com\r\n\r\n')
  await until(() => scope)
  t.notOk(scope?.isClosed)
  socket.destroy()
  await until(() => aborted.length > 0)
  t.same(aborted, ['acme'])
  t.ok(scope?.isClosed)
  t.ok(scope?.signal.aborted)
})

t.test('a client that leaves during the look-up leaves no open scope behind', async t => {
  const registry = new CountingRegistry()
  const { promise, resolve: open } = Promise.withResolvers<void>()
  registry.gate = promise
  let scope: TenantScope | undefined
  const { app } = await start(t, { registry }, app => {
    app.addHook('preHandler', async request => {
      scope = request.tenancy.scope
    })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nHost: acme.example.com\r\n\r\n')
  await until(() => registry.reads > 0)
  socket.destroy()
  await until(() =>
    new Promise<boolean>(resolve => {
      app.server.getConnections((_error, count) => {
        resolve(count === 0)
      })
    })
  )
  open()
  await until(() => scope)
  await until(() => scope?.isClosed)
  t.ok(scope?.signal.aborted)
})

t.test('CTX-03 on a connection timeout the hook has the tenant, and the scope is aborted', async t => {
  const timedOut: string[] = []
  let scope: TenantScope | undefined
  const { app } = await start(t, {}, app => {
    app.addHook('onTimeout', async request => {
      timedOut.push(request.tenant.slug)
    })
    app.get('/hang', request => {
      scope = request.tenancy.scope
      return new Promise(() => {})
    })
  }, { connectionTimeout: 50 })
  await raw(app, 'GET /hang HTTP/1.1\r\nHost: acme.example.com\r\n\r\n')
  await until(() => timedOut.length > 0)
  t.same(timedOut, ['acme'])
  t.ok(scope?.signal.aborted)
})

t.test('CTX-04 no two requests share anything, and a scope ends with its response', async t => {
  const scopes: (TenantScope | undefined)[] = []
  const { app } = await start(t, {}, app => {
    app.get('/scope', async request => {
      scopes.push(request.tenancy.scope)
      Object.assign(request.tenancy, { note: request.id })
      t.throws(() => Object.assign(request.tenant, { slug: 'globex' }), TypeError)
      return {}
    })
    app.get('/off', { config: { tenancy: 'off' } }, async request => {
      t.throws(
        () => {
          request.tenancy.source = 'mine'
        },
        TypeError,
        'what off routes share cannot be written'
      )
      return {}
    })
  })
  for (let at = 0; at < 3; at++) await app.inject({ url: '/scope', headers: { host: 'acme.example.com' } })
  await app.inject({ url: '/off', headers: { host: 'acme.example.com' } })
  t.equal(new Set(scopes).size, 3)
  t.ok(scopes.every(scope => scope?.isClosed))
})

t.test('SID-10 every log line carries the tenant id once it is known', async t => {
  const lines: { msg: string; tenant?: string; reqId?: string }[] = []
  const { app } = await start(t, {}, app => {
    app.get('/log', async request => {
      request.log.info('working')
      return {}
    })
  }, {
    logger: {
      stream: {
        write: (line: string) => {
          lines.push(JSON.parse(line) as { msg: string })
        }
      }
    }
  })
  lines.length = 0
  await app.inject({ url: '/log', headers: { host: 'acme.example.com' } })
  await app.inject({ url: '/log', headers: { host: 'nosuch.example.com' } })
  t.same(lines.filter(line => line.reqId === 'req-1').map(line => [line.msg, line.tenant]), [[
    'incoming request',
    undefined
  ], ['working', 't-acme'], ['request completed', 't-acme']])
  t.notOk(lines.some(line => line.reqId === 'req-2' && line.tenant))
})

t.test('a refusal is kept for the limiter, and the gate sends it otherwise', async t => {
  const refusals: string[] = []
  let handled = 0
  const build = async (sends: boolean): Promise<FastifyInstance> =>
    (await start(t, { registry: seven() }, app => {
      app.decorate('tenantRateLimit', {} as never)
      app.addHook('onRequest', async request => {
        const { refusal, scope } = request.tenancy
        if (refusal !== undefined)
          refusals.push(`${(refusal as Error & { code: string }).code} ${scope?.tenant.slug ?? 'nobody'}`)
        if (sends && refusal !== undefined) throw Object.assign(new Error('limited'), { statusCode: 429 })
      })
      app.post('/', async () => {
        handled++
      })
    })).app
  const limiting = await build(true)
  t.equal((await limiting.inject({ url: '/', headers: { host: 'nosuch.example.com' } })).statusCode, 429)
  t.equal((await limiting.inject({ url: '/', headers: { host: 'acme.example.com' } })).statusCode, 200)
  const forgetful = await build(false)
  t.equal(
    (await forgetful.inject({
      method: 'POST',
      url: '/',
      payload: '{broken',
      headers: { host: 'nosuch.example.com', 'content-type': 'application/json' }
    })).statusCode,
    404,
    'before the body is parsed'
  )
  t.equal((await forgetful.inject({ url: '/nowhere', headers: { host: 'a@b' } })).statusCode, 400)
  t.equal(handled, 0)
  t.same(refusals, ['FST_TENANCY_TENANT_UNKNOWN nobody', 'FST_TENANCY_TENANT_UNKNOWN nobody',
    'FST_TENANCY_HOST_INVALID nobody'])
})

t.test('RL-17 the limiter gets a suspended tenant by its id', async t => {
  const registry = seven()
  await registry.set('t-acme', { status: 'suspended' })
  let seen: string | undefined
  const { app } = await start(t, { registry }, app => {
    app.decorate('tenantRateLimit', {} as never)
    app.addHook('onRequest', async request => {
      seen = request.tenancy.scope?.tenant.id
    })
  })
  t.equal((await app.inject({ url: '/', headers: { host: 'acme.example.com' } })).statusCode, 403)
  t.equal(seen, 't-acme')
})

t.test('LIF-04 WSK-01 the request signal aborts when its tenant is suspended, deleted or moved', async t => {
  const changes = {
    suspended: { status: 'suspended' },
    deleted: { status: 'deleting' },
    moved: { isolation: 'database', placement: { shard: 'other' } }
  } as const
  for (const [name, change] of Object.entries(changes)) {
    const registry = seven()
    const { app } = await start(t, { registry }, app => {
      app.get('/stream', request =>
        new Promise((_resolve, reject) => {
          const { signal } = request.tenancy
          signal.addEventListener('abort', () => {
            reject(signal.reason as Error)
          })
        }))
    })
    const ended: string[] = []
    const streams = ['acme', 'globex'].map(async slug => {
      const response = await app.inject({ url: '/stream', headers: { host: `${slug}.example.com` } })
      ended.push(`${slug} ${response.statusCode}`)
    })
    await until(() => registry.reads === 2)
    await app.tenantResolver.invalidate({ id: 't-acme' })
    t.same(ended, [], 'a change that does not matter ends nothing')
    await registry.set('t-acme', change)
    await app.tenantResolver.invalidate({ id: 't-acme' })
    await until(() => ended.length > 0)
    t.same(ended, [name === 'suspended' ? 'acme 403' : name === 'deleted' ? 'acme 404' : 'acme 503'], name)
    await registry.set('t-globex', { status: 'suspended' })
    await app.tenantResolver.invalidate({ slug: 'globex' })
    await Promise.all(streams)
  }
})

t.test('LIF-04 with the message lost a listening request is ended within localTtl', async t => {
  const registry = seven()
  const { app } = await start(t, { registry, cache: { localTtl: '50ms' } }, app => {
    app.get('/stream', request =>
      new Promise((_resolve, reject) => {
        const { signal } = request.tenancy
        signal.addEventListener('abort', () => {
          reject(signal.reason as Error)
        })
      }))
  })
  // An open server keeps a process alive, the resolver's timer does not.
  await app.listen({ port: 0, host: '127.0.0.1' })
  const stream = app.inject({ url: '/stream', headers: { host: 'acme.example.com' } })
  await until(() => registry.reads > 0)
  await registry.set('t-acme', { status: 'suspended' })
  t.equal((await stream).statusCode, 403)
})
