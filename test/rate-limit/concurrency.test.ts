import Fastify from 'fastify'
import { once } from 'node:events'
import { connect, type AddressInfo, type Socket } from 'node:net'
import t, { type Test } from 'tap'

import type { RateLimitOptions } from '@fastify-tenancy/rate-limit'

import { until } from '../support/until.ts'
import { get, startApp, type Setup } from './app.ts'

interface Held {
  readonly app: Awaited<ReturnType<typeof startApp>>
  /** Number of requests in the handler of /held. */
  readonly waiting: () => number
  readonly release: () => void
}

/** An app on a port whose route /held replies when the test releases it. */
async function startHeld (t: Test, limits: RateLimitOptions['limits'], setup: Setup = {}): Promise<Held> {
  let open: (() => void)[] = []
  const app = await startApp(t, { limits: limits ?? {} }, {
    forceCloseConnections: true,
    ...setup,
    routes: app => {
      app.get('/held', async () =>
        new Promise(resolve => {
          open.push(() => {
            resolve({})
          })
        }))
      app.get('/fails', async () => {
        throw new Error('no')
      })
      app.get('/hijacked', (_request, reply) => {
        reply.hijack()
        reply.raw.end('{}')
      })
    }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const release = (): void => {
    for (const answer of open) answer()
    open = []
  }
  t.teardown(release)
  return { app, waiting: () => open.length, release }
}

async function send (app: Held['app'], path: string, slug = 'acme'): Promise<Socket> {
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  await once(socket, 'connect')
  socket.on('error', () => {})
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nx-tenant: ${slug}\r\n\r\n`)
  return socket
}

t.test("concurrency bounds a tenant's requests in flight with an uncounted 429", async t => {
  const { app, waiting, release } = await startHeld(t, { default: { rpm: 50, concurrency: 2 } })
  await send(app, '/held')
  await send(app, '/held')
  await until(() => waiting() === 2)
  const refused = await get(app, 'acme')
  t.equal(refused.status, 429)
  t.match(refused.body, { code: 'FST_TENANCY_RATE_LIMITED' })
  t.equal(refused.headers['retry-after'], '1')
  t.equal((await get(app, 'globex')).status, 200)
  release()
  await until(async () => (await get(app, 'acme')).status === 200)
  t.equal((await get(app, 'acme')).headers['x-ratelimit-remaining'], '46')
})

t.test('a place comes back once: after a reply, an error, a 404, a 429, a hijacked reply', async t => {
  const { app, waiting } = await startHeld(t, { default: { rpm: 100, burst: 70, concurrency: 1 } })
  for (const path of ['/', '/fails', '/nowhere', '/hijacked']) {
    for (let i = 0; i < 3; i++) {
      const socket = await send(app, path)
      await once(socket, 'data')
      socket.destroy()
    }
  }
  await until(async () => (await get(app, 'acme')).status === 200)
  await send(app, '/held')
  await until(() => waiting() === 1)
  t.equal((await get(app, 'acme')).status, 429, 'and not twice')
})

t.test('POOL-06 a place comes back when the client goes, and on a connection time-out', async t => {
  const { app, waiting } = await startHeld(t, { default: { concurrency: 1 } }, { connectionTimeout: 150 })
  const gone = await send(app, '/held')
  await until(() => waiting() === 1)
  t.equal((await get(app, 'acme')).status, 429)
  gone.destroy()
  await until(async () => (await get(app, 'acme')).status === 200)
  await send(app, '/held')
  await until(() => waiting() === 2)
  t.equal((await get(app, 'acme')).status, 429)
  await until(async () => (await get(app, 'acme')).status === 200)
})

t.test('with inject() places come back too, and a free route takes one', async t => {
  const app = await startApp(t, { limits: { default: { concurrency: 1 } } }, {
    routes: app => app.get('/free', { config: { tenancy: { cost: 0 } } }, async () => ({}))
  })
  for (let i = 0; i < 5; i++) t.equal((await get(app, 'acme')).status, 200)
  for (let i = 0; i < 5; i++) t.equal((await get(app, 'acme', '/free')).status, 200)
  const together = await Promise.all([get(app, 'acme'), get(app, 'acme'), get(app, 'globex')])
  t.same(together.map(({ status }) => status).toSorted((a, b) => a - b).at(0), 200)
})

t.test('the plugin refuses to start without the resolver', async t => {
  const { default: rateLimit } = await import('@fastify-tenancy/rate-limit')
  await t.rejects(async () => Fastify().register(rateLimit, { limits: {} }), /@fastify-tenancy\/resolver/)
})
