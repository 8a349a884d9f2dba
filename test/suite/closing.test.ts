import websocket from '@fastify/websocket'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import tenancy, { currentScope, currentTenant, memoryRegistry, toEnvelope, type TenancyOptions,
  type TenantWork } from 'fastify-tenancy'
import { sql } from 'kysely'
import dns from 'node:dns'
import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'

import { dbOf, tenants } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'
import { dbIn } from './work.ts'

const on = await provision(t)

// Fastify listens on each address of localhost, and not every machine has two.
const addressesOfLocalhost = ['127.0.0.1', '127.0.0.2']
const { lookup } = dns
t.teardown(() => {
  dns.lookup = lookup
})
dns.lookup = Object.assign(
  (host: string, options: { all?: boolean }, done: (...args: unknown[]) => void): void => {
    if (host !== 'localhost' || options.all !== true)
      Reflect.apply(lookup, dns, [host === 'localhost' ? '127.0.0.1' : host, options, done])
    else process.nextTick(done, null, addressesOfLocalhost.map(address => ({ address, family: 4 })))
  },
  lookup
) as typeof lookup
const headers = { host: 'acme.example.com' }

interface Listening {
  readonly app: FastifyInstance
  readonly port: number
}

/** Listens on every address of localhost. */
async function listen (
  t: Test,
  prepare: (app: FastifyInstance) => unknown,
  options: Partial<TenancyOptions> = {}
): Promise<Listening> {
  await on.admin('truncate notes restart identity')
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: on.url,
    rls: { secret: on.secret ?? '' },
    tables: on.tables,
    registry: memoryRegistry(tenants),
    ...options
  })
  await app.register(websocket)
  await prepare(app)
  await app.listen({ port: 0 })
  const { port } = app.server.address() as { port: number }
  return { app, port }
}

const hostsOf = (app: FastifyInstance): string[] =>
  app.addresses().map(each => typeof each === 'string' ? each : each.address).toSorted()

const bodies = async (): Promise<string[]> =>
  (await on.admin<{ body: string }>('select body from notes order by id')).map(({ body }) => body)
const sleeping = async (): Promise<number> =>
  (await on.admin(
    "select from pg_stat_activity where datname = current_database() and query like '%pg_sleep%' " +
      "and state = 'active' and pid <> pg_backend_pid()"
  )).length

/** A held lock: inserts wait until it is released. */
async function held (t: Test): Promise<() => Promise<unknown>> {
  await on.admin('begin')
  await on.admin('lock table notes in share mode')
  t.teardown(() => on.admin('rollback'))
  return () => on.admin('rollback')
}
const waiting = async (): Promise<number> =>
  (await on.admin("select from pg_locks where not granted and relation = 'notes'::regclass")).length

async function text (response: IncomingMessage): Promise<string> {
  return (await response.setEncoding('utf8').toArray()).join('')
}

const insert = async (request: { db: unknown }, body: string): Promise<unknown> =>
  dbOf(request).insertInto('notes').values({ body }).execute()

t.test('END-07 work of waitUntil() ends before close() resolves and before an own onClose', async t => {
  const order: string[] = []
  const { app, port } = await listen(t, app => {
    app.addHook('onClose', async () => {
      order.push('onClose')
    })
    app.get('/', async request => {
      request.tenancy.waitUntil(insert(request, 'later').then(() => order.push('work')))
      return 'ok'
    })
  })
  const release = await held(t)
  const [response] = await once(get({ port, path: '/', headers, agent: false }), 'response') as [
    IncomingMessage
  ]
  t.equal(await text(response), 'ok', 'acknowledged')
  await until(async () => await waiting() === 1)
  const closed = app.close()
  await release()
  await closed
  t.same(order, ['work', 'onClose'])
  t.same(await bodies(), ['later'])
})

t.test('END-07 work that does not end is cut short at closeTimeout', async t => {
  const { app, port } = await listen(t, app => {
    app.get('/', async request => {
      request.tenancy.waitUntil(sql`select pg_sleep(60)`.execute(dbOf(request)))
      return 'ok'
    })
  }, { closeTimeout: '100ms' })
  const [response] = await once(get({ port, path: '/', headers, agent: false }), 'response') as [
    IncomingMessage
  ]
  await text(response)
  await until(async () => await sleeping() === 1)
  await app.close()
  await until(async () => await sleeping() === 0)
})

t.test('END-08 requests on each address are waited for; they are answered in full', async t => {
  const { app, port } = await listen(t, app => {
    app.get('/', async request => {
      await insert(request, 'written')
      return 'ok'
    })
  })
  const addresses = hostsOf(app)
  t.same(addresses, addressesOfLocalhost)
  const release = await held(t)
  const replies = addresses.map(async host => {
    const [response] = await once(get({ port, host, path: '/', headers, agent: false }), 'response') as [
      IncomingMessage
    ]
    return `${response.statusCode} ${await text(response)}`
  })
  await until(async () => await waiting() === addresses.length)
  const closed = app.close()
  await release()
  t.same(await Promise.all(replies), addresses.map(() => '200 ok'))
  await closed
  t.equal((await bodies()).length, addresses.length)
})

t.test('END-08 one that hangs, on either address, is cut short at closeTimeout', async t => {
  const { app, port } = await listen(t, app => {
    app.get('/', async request => sql`select pg_sleep(60)`.execute(dbOf(request)))
  }, { closeTimeout: '100ms' })
  const cut = hostsOf(app).map(async host => {
    const request = get({ port, host, path: '/', headers, agent: false })
    await once(request, 'close')
  })
  for (const each of cut) each.catch(() => {})
  await until(async () => await sleeping() === hostsOf(app).length)
  await app.close()
  await Promise.allSettled(cut)
  await until(async () => await sleeping() === 0)
})

t.test('END-08 connections that were kept alive do not hold close() up', async t => {
  const { app, port } = await listen(t, app => {
    app.get('/', async request => {
      await insert(request, 'written')
      return 'ok'
    })
  })
  const release = await held(t)
  const agents = hostsOf(app).map(() => new Agent({ keepAlive: true }))
  t.teardown(() => {
    for (const agent of agents) agent.destroy()
  })
  const replies = hostsOf(app).map(async (host, n) => {
    const [response] = await once(get({ port, host, path: '/', headers, agent: agents[n] }), 'response') as [
      IncomingMessage
    ]
    await text(response)
  })
  await until(async () => await waiting() === hostsOf(app).length)
  const closed = app.close()
  await release()
  await Promise.all(replies)
  await closed
})

/** Opens a connection and keeps all bytes that it receives. */
function listenTo (t: Test, port: number, host: string): Socket & { received(): string } {
  const socket = connect({ port, host }).on('error', () => {})
  t.teardown(() => {
    socket.destroy()
  })
  let received = ''
  socket.on('data', data => {
    received += String(data)
  })
  return Object.assign(socket, { received: () => received })
}

t.test('CHG-04 a request on an open connection during close gets Fastify’s 503 with retry-after', async t => {
  const { app, port } = await listen(t, app => {
    // The reply keeps the connection open.
    app.get('/', (_request, reply) => {
      reply.hijack()
      reply.raw.write('begun')
      replies.push(reply)
    })
  })
  const sockets = hostsOf(app).map(host => listenTo(t, port, host))
  const request = 'GET / HTTP/1.1\r\nHost: acme.example.com\r\n\r\n'
  for (const socket of sockets) socket.write(request)
  await until(() => replies.length === sockets.length)
  const closed = app.close()
  await new Promise(resolve => setImmediate(resolve))
  for (const socket of sockets) socket.write(request)
  // The second request is pipelined and answered after the first.
  await until(() => sockets.every(socket => socket.bytesWritten === 2 * request.length))
  await new Promise(resolve => setImmediate(resolve))
  for (const reply of replies) reply.raw.end()
  await closed
  for (const socket of sockets) {
    await until(() => socket.closed)
    t.match(socket.received(), /200 OK[^]*503 Service Unavailable[^]*retry-after: 1\r\n/i)
    t.match(
      socket.received(),
      '{"error":"Service Unavailable","message":"Service Unavailable","statusCode":503}'
    )
  }
})
const replies: FastifyReply[] = []

t.test('END-10 refused websocket upgrades leave no socket behind', async t => {
  const { app, port } = await listen(t, app => {
    app.get('/socket', { websocket: true }, () => {})
    app.get('/http', async () => 'no websocket here')
  })
  const refused = async (host: string, path: string): Promise<number> => {
    const socket = connect(port).on('error', () => {})
    socket.write(
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: ` +
        `websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`
    )
    const [data] = await once(socket, 'data') as [Buffer]
    socket.destroy()
    return Number(/HTTP\/1.1 (\d+)/.exec(String(data))?.[1])
  }
  for (let n = 0; n < 20; n++)
    t.equal(
      await refused(n % 2 === 0 ? 'nobody.example.com' : '10.0.0.1', n % 3 === 0 ? '/nowhere' : '/socket'),
      n % 2 === 0 ? 404 : 400
    )
  const open = (): Promise<number> =>
    new Promise(resolve => {
      app.server.getConnections((_error, count) => {
        resolve(count)
      })
    })
  await until(async () => await open() === 0)
  await app.close()
})

t.test('EDG-18 message handlers of a websocket have the connection’s tenant', async t => {
  const { port } = await listen(t, app => {
    app.get('/socket', { websocket: true }, (socket, request) => {
      socket.on('message', message => {
        const scope = currentScope()
        void insert(request, String(message)).then(() =>
          socket.send(JSON.stringify([currentTenant()?.slug, toEnvelope().tenant, scope === currentScope()]))
        )
      })
    })
  })
  const ask = async (slug: string, message: string): Promise<unknown> => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/socket`, {
      headers: { host: `${slug}.example.com` },
      perMessageDeflate: true
    })
    await once(socket, 'open')
    const answers: unknown[] = []
    for (let n = 0; n < 2; n++) {
      socket.send(message)
      const [data] = await once(socket, 'message') as [Buffer]
      answers.push(JSON.parse(String(data)))
    }
    socket.close()
    return answers
  }
  t.same(await Promise.all([ask('acme', 'a'), ask('globex', 'g')]), [
    [['acme', 'id-acme', true], ['acme', 'id-acme', true]],
    [['globex', 'id-globex', true], ['globex', 'id-globex', true]]
  ])
})

t.test('a running statement of a detached scope is finished before the application closes', async t => {
  let work: TenantWork | undefined
  let result: Promise<unknown> = Promise.resolve()
  const { app, port } = await listen(t, app => {
    app.get('/events', (request, reply) => {
      work = request.tenancy.detach()
      reply.hijack()
      reply.raw.writeHead(200, { 'content-type': 'text/event-stream' })
      reply.raw.write('data: hello\n\n')
      const db = dbIn(work)
      result = db.transaction().execute(async trx => {
        await trx.insertInto('notes').values({ body: 'one' }).execute()
        await trx.insertInto('notes').values({ body: 'two' }).execute()
      }).then(() => 'done')
    })
  })
  const release = await held(t)
  const [response] = await once(get({ port, path: '/events', headers, agent: false }), 'response') as [
    IncomingMessage
  ]
  response.on('error', () => {}).resume()
  await until(async () => await waiting() === 1)
  const closed = app.close()
  await until(() => work?.signal.aborted)
  await release()
  t.equal(await result, 'done')
  await closed
  t.same(await bodies(), ['one', 'two'])
})
