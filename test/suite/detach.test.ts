import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { Agent, get, request as open, type IncomingMessage } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { TenantWork } from 'fastify-tenancy'
import t, { type Test } from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'
import { dbIn, registered } from './work.ts'

const on = await provision(t)
await on.admin("insert into notes (tenant_id, body) values ('id-acme', 'acme:1'), ('id-globex', 'globex:1')")

interface Listening {
  readonly app: FastifyInstance
  readonly port: number
  readonly works: TenantWork[]
  readonly setStatus: ReturnType<typeof registered>['setStatus']
  /** Returns the rows that the newest detached work reads. */
  rows(): Promise<string[]>
}

/** An application with an event stream, a websocket, and a plain route, each detached. */
async function listen (t: Test): Promise<Listening> {
  const { registry, setStatus } = registered()
  const app = await suite(t, on, { registry, resolver: { cache: { localTtl: '50ms' } } })
  const works: TenantWork[] = []
  app.get('/events', (request, reply) => {
    const work = request.tenancy.detach()
    works.push(work)
    reply.hijack()
    reply.raw.writeHead(200, { 'content-type': 'text/event-stream' })
    reply.raw.write('data: hello\n\n')
    work.signal.addEventListener('abort', () => {
      reply.raw.write('data: bye\n\n')
    })
  })
  app.get('/socket', (request, reply) => {
    works.push(request.tenancy.detach())
    reply.hijack()
    // The handshake of RFC 6455. Afterwards the socket carries frames, and no HTTP reply.
    const accept = createHash('sha1').update(
      `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
    ).digest('base64')
    request.raw.socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: ` +
        `Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`
    )
    request.raw.socket.write(Buffer.from([0x81, 2, 0x68, 0x69]))
  })
  // As @fastify/websocket does it, with a handler that does not call detach().
  app.decorateRequest('ws', false)
  app.addHook('onRequest', async request => {
    Object.assign(request, { ws: request.url === '/naive' })
  })
  app.get('/naive', (request, reply) => {
    afterwards = async () => dbOf(request).selectFrom('notes').select('body').execute()
    reply.hijack()
    reply.raw.writeHead(200)
    reply.raw.flushHeaders()
  })
  app.get('/plain', async request => {
    works.push(request.tenancy.detach())
    t.equal(request.tenancy.detach(), works.at(-1), 'the same at each call')
    afterwards = async () => dbOf(request).selectFrom('notes').select('body').execute()
    return { ok: true }
  })
  app.get('/transaction', { config: { tenancy: { transaction: true } } }, async request => {
    const work = request.tenancy.detach()
    works.push(work)
    await dbOf(request).insertInto('notes').values({ body: 'acme:2' }).execute()
    return dbIn(work).selectFrom('notes').select('body').execute()
  })
  app.get('/other', async request => dbOf(request).selectFrom('notes').select('body').execute())
  app.get('/off', { config: { tenancy: 'off' } }, async request => request.tenancy.detach())
  await app.listen({ port: 0, host: '127.0.0.1' })
  return {
    app,
    port: (app.server.address() as AddressInfo).port,
    works,
    setStatus: async (id, status) => {
      await setStatus(id, status)
      await app.tenancy.invalidate({ id })
    },
    rows: async () =>
      (await dbIn(works.at(-1) as TenantWork).selectFrom('notes').select('body').execute()).map(({ body }) =>
        body
      )
  }
}
let afterwards: () => Promise<unknown> = async () => {}

const headers = { host: 'acme.example.com' }

/** A stream of events, and the bytes that arrived. */
async function events (port: number): Promise<{ response: IncomingMessage; text: () => string }> {
  const [response] = await once(get({ port, path: '/events', headers, agent: false }), 'response') as [
    IncomingMessage
  ]
  let text = ''
  response.on('error', () => {})
  response.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  return { response, text: () => text }
}

async function websocket (port: number): Promise<Socket> {
  const upgrade = open({
    port,
    path: '/socket',
    headers: {
      ...headers,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ=='
    }
  })
  upgrade.end()
  const [, socket] = await once(upgrade, 'upgrade') as [IncomingMessage, Socket]
  return socket.on('error', () => {})
}

for (const status of ['suspended', 'deleting'] as const) {
  t.test(`WSK-01 an event stream keeps its tenant until that is ${status}, and then ends`, async t => {
    const { port, works, rows, setStatus } = await listen(t)
    const { response, text } = await events(port)
    t.same(await rows(), ['acme:1'])
    await setStatus('id-globex', status)
    t.same(await rows(), ['acme:1'], 'another tenant is no matter')
    await setStatus('id-acme', status)
    await until(() => response.closed)
    t.equal(text(), 'data: hello\n\ndata: bye\n\n', 'who listens to the signal can say goodbye')
    t.match(works[0]?.signal.reason, {
      code: status === 'suspended' ? 'FST_TENANCY_TENANT_SUSPENDED' : 'FST_TENANCY_TENANT_UNKNOWN'
    })
    await t.rejects(rows(), { code: 'FST_TENANCY_SCOPE_CLOSED' })
  })

  t.test(`WSK-01 a websocket keeps its tenant until that is ${status}, and then ends`, async t => {
    const { port, rows, setStatus } = await listen(t)
    const socket = await websocket(port)
    t.same(await rows(), ['acme:1'])
    await setStatus('id-acme', status)
    socket.resume()
    await until(() => socket.closed)
    await t.rejects(rows(), { code: 'FST_TENANCY_SCOPE_CLOSED' })
  })
}

t.test('WSK-01 work behind a reply ends with the connection and not before', async t => {
  const { port, works, rows } = await listen(t)
  const request = open({ port, path: '/plain', headers: { ...headers, connection: 'keep-alive' } })
  request.end()
  const [response] = await once(request, 'response') as [IncomingMessage]
  await response.resume().toArray()
  t.same(await rows(), ['acme:1'])
  t.same(await afterwards(), [{ body: 'acme:1' }], 'request.db is prolonged with it')
  request.socket?.destroy()
  await until(() => works[0]?.signal.aborted)
  await t.rejects(rows(), { code: 'FST_TENANCY_SCOPE_CLOSED' })
})

t.test('WSK-01 a websocket whose handler does not detach ends with its tenant all the same', async t => {
  const { port, setStatus } = await listen(t)
  const naive = async (): Promise<IncomingMessage> => {
    const [response] = await once(get({ port, path: '/naive', headers, agent: false }), 'response') as [
      IncomingMessage
    ]
    return response.on('error', () => {})
  }
  const first = await naive()
  t.same(await afterwards(), [{ body: 'acme:1' }])
  first.destroy()
  await until(() =>
    afterwards().then(() => false, (error: { code: string }) => error.code === 'FST_TENANCY_SCOPE_CLOSED')
  )
  const second = await naive()
  second.resume()
  t.same(await afterwards(), [{ body: 'acme:1' }])
  await setStatus('id-acme', 'suspended')
  await until(() => second.closed)
  await t.rejects(afterwards(), { code: 'FST_TENANCY_SCOPE_CLOSED' })
})

t.test('a client that goes ends its websocket’s and its stream’s work', async t => {
  const { port, works } = await listen(t)
  const { response } = await events(port)
  response.destroy()
  const socket = await websocket(port)
  socket.destroy()
  await until(() => works.length === 2 && works.every(({ signal }) => signal.aborted))
})

t.test('a connection that serves the next request is not ended with an earlier one’s tenant', async t => {
  const { app, port, works, setStatus } = await listen(t)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const send = async (path: string, host: string): Promise<string> => {
    const [response] = await once(get({ port, path, agent, headers: { host } }), 'response') as [
      IncomingMessage
    ]
    return (await response.setEncoding('utf8').toArray()).join('')
  }
  await send('/plain', 'acme.example.com')
  await setStatus('id-acme', 'suspended')
  await until(() => works[0]?.signal.aborted)
  t.equal(await send('/other', 'globex.example.com'), '[{"body":"globex:1"}]')
  t.equal(
    await new Promise(resolve => {
      app.server.getConnections((_error, count) => {
        resolve(count)
      })
    }),
    1,
    'over the same connection'
  )
})

t.test('detached work is no part of the request’s transaction', async t => {
  const { app, rows } = await listen(t)
  t.teardown(() => on.admin("delete from notes where body = 'acme:2'"))
  const { body } = await app.inject({ url: '/transaction', headers })
  t.equal(body, '[{"body":"acme:1"}]', 'it does not see what is not committed')
  // inject() has no socket, so only the end of the response ends the scope.
  await t.rejects(rows(), { code: 'FST_TENANCY_SCOPE_CLOSED' })
})

t.test('the application closes while streams and websockets are open', async t => {
  const { app, port, works } = await listen(t)
  const { response } = await events(port)
  const socket = await websocket(port)
  await app.close()
  t.ok(works.every(({ signal }) => signal.aborted))
  socket.resume()
  await until(() => response.closed && socket.closed)
})

t.test('a route without a tenant has nothing to detach', async t => {
  const { app } = await listen(t)
  t.match((await app.inject({ url: '/off', headers })).json(), { code: 'FST_TENANCY_CONTEXT_MISSING' })
})
