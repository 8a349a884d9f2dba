import { sql } from 'kysely'
import { PassThrough } from 'node:stream'
import t, { type Test } from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { tcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { provision, type Provisioned } from '../support/tenants.ts'
import { until } from '../support/until.ts'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

const config = { tenancy: { transaction: true } }
const on = await provision(t)

interface Context {
  readonly on: Provisioned
  readonly app: FastifyInstance
  readonly proxy: TcpProxy
  /** Sends a request of acme. */
  send(url: string): Promise<{ statusCode: number; body: string }>
  /** What is in the table afterwards, read as the superuser. */
  bodies(): Promise<string[]>
}

async function start (t: Test): Promise<Context> {
  await on.admin('truncate notes restart identity')
  const proxy = await tcpProxy(t, on.url)
  const app = await suite(t, on, {
    database: { url: proxy.url, pool: { max: 1 }, registryUrl: on.registryUrl }
  })
  return {
    on,
    app,
    proxy,
    send: url => app.inject({ method: 'POST', url, headers: { host: 'acme.example.com' } }),
    bodies: async () =>
      (await on.admin<{ body: string }>('select body from notes order by id')).map(({ body }) => body)
  }
}

const throws = async (): Promise<never> => {
  throw new Error('onSend')
}
const write = (request: FastifyRequest, body: string): Promise<unknown> =>
  dbOf(request).insertInto('notes').values({ body }).execute()

t.test('a request is one transaction, committed before its reply: k statements are k + 1 waits', async t => {
  const { app, send, bodies, proxy } = await start(t)
  app.post('/', { config }, async request => {
    await write(request, 'acme:1')
    await write(request, 'acme:2')
    return (await bodies()).length
  })
  app.post('/none', { config }, async () => 'touched nothing')
  await send('/none')
  proxy.reset()
  t.match(await send('/'), { statusCode: 200, body: '0' }, 'others see nothing before the end')
  t.equal(proxy.waits, 3)
  t.same(await bodies(), ['acme:1', 'acme:2'])
})

t.test('an error, a status of 400 and above, and rollbackOnly() roll back', async t => {
  const { app, send, bodies } = await start(t)
  app.post('/throws', { config }, async request => {
    await write(request, 'acme:thrown')
    throw new Error('handler')
  })
  app.post('/status', { config }, async (request, reply) => {
    await write(request, 'acme:status')
    return reply.code(422).send('no')
  })
  app.post('/only', { config }, async request => {
    await write(request, 'acme:only')
    request.tenancy.rollbackOnly()
    return 'ok'
  })
  app.post('/not', async request => request.tenancy.rollbackOnly())
  t.equal((await send('/throws')).statusCode, 500)
  t.equal((await send('/status')).statusCode, 422)
  t.equal((await send('/only')).statusCode, 200)
  t.same(await bodies(), [])
  t.match(JSON.parse((await send('/not')).body), { statusCode: 500, code: 'FST_TENANCY_CONTEXT_MISSING' })
})

t.test('TXN-02 a caught error of a statement gives a 5xx, and nothing is half done', async t => {
  const { app, send, bodies } = await start(t)
  app.post('/', { config }, async request => {
    await write(request, 'acme:1')
    await sql`select 1 / 0`.execute(dbOf(request)).catch(() => {})
    return 'fine'
  })
  const { statusCode, body } = await send('/')
  t.equal(statusCode, 500)
  t.notMatch(body, 'fine')
  t.same(await bodies(), [])
})

t.test('TXN-02 a later onSend that throws, of the route or the application, rolls back', async t => {
  const { app, send, bodies } = await start(t)
  app.post('/route', { config, onSend: throws }, async request => {
    await write(request, 'acme:route')
    return 'ok'
  })
  await app.register(async child => {
    child.addHook('onSend', throws)
    child.post('/child', { config }, async request => {
      await write(request, 'acme:child')
      return 'ok'
    })
  })
  t.equal((await send('/route')).statusCode, 500)
  t.equal((await send('/child')).statusCode, 500)
  t.same(await bodies(), [])
})

t.test('TXN-02 a hijacked reply rolls back', async t => {
  const { app, bodies } = await start(t)
  app.post('/', { config }, async (request: FastifyRequest, reply: FastifyReply) => {
    await write(request, 'acme:hijacked')
    reply.hijack()
    reply.raw.end('mine')
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as { port: number }
  await new Promise((resolve, reject) => {
    void import('node:http').then(({ request }) =>
      request(
        { port, host: '127.0.0.1', method: 'POST', path: '/', headers: { host: 'acme.example.com' } },
        response => response.resume().on('end', resolve)
      ).on('error', reject).end()
    )
  })
  await until(async () =>
    (await on.admin(
      "select from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'"
    )).length === 0
  )
  t.same(await bodies(), [])
})

t.test('POOL-06 a client that goes away rolls back, and the connection serves the next', async t => {
  const { app, send, bodies } = await start(t)
  app.post('/slow', { config }, async request => {
    await write(request, 'acme:slow')
    await sql`select pg_sleep(20)`.execute(dbOf(request))
    return 'late'
  })
  app.post('/next', async request => dbOf(request).selectFrom('notes').select('body').execute())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as { port: number }
  const { connect } = await import('node:net')
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('POST /slow HTTP/1.1\r\nHost: acme.example.com\r\nContent-Length: 0\r\n\r\n')
  await until(async () =>
    (await on.admin(
      "select from pg_stat_activity where datname = current_database() and query like '%pg_sleep%' " +
        'and pid <> pg_backend_pid()'
    )).length === 1
  )
  socket.destroy()
  t.match(await send('/next'), { statusCode: 200, body: '[]' })
  t.same(await bodies(), [])
})

t.test('a commit whose answer never comes is a 503', async t => {
  const { app, send, on } = await start(t)
  app.post('/', { config }, async request => {
    await write(request, 'acme:1')
    await on.admin(
      'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() ' +
        "and usename like '%\\_app'"
    )
    return 'sure'
  })
  t.equal((await send('/')).statusCode, 503)
})

t.test('db.transaction() inside is a savepoint: it fails alone, and the request goes on', async t => {
  const { app, send, bodies } = await start(t)
  app.post('/', { config }, async request => {
    await write(request, 'acme:1')
    await dbOf(request).transaction().execute(async trx => {
      await trx.insertInto('notes').values({ body: 'acme:inner' }).execute()
    })
    await dbOf(request).transaction().execute(async trx => {
      await trx.insertInto('notes').values({ body: 'acme:undone' }).execute()
      await trx.insertInto('notes').values({ id: 1, body: 'acme:dup' }).execute()
    }).catch(() => {})
    await write(request, 'acme:2')
    return 'ok'
  })
  t.equal((await send('/')).statusCode, 200)
  t.same(await bodies(), ['acme:1', 'acme:inner', 'acme:2'])
})

t.test("an application's own preHandler is part of the transaction", async t => {
  const { app, send, bodies } = await start(t)
  app.post('/', {
    config,
    preHandler: async request => {
      await write(request, 'acme:before')
    }
  }, async () => {
    throw new Error('handler')
  })
  await send('/')
  t.same(await bodies(), [])
})

t.test('a reply that begins before any statement ends the transaction: no later one writes', async t => {
  const { app, send, bodies } = await start(t)
  let late = ''
  app.post('/', { config }, (request, reply) => {
    const stream = new PassThrough()
    void reply.send(stream)
    stream.write('a')
    void (async () => {
      await until(() => reply.raw.headersSent)
      late = await write(request, 'acme:late').then(() => 'written', (error: { code: string }) => error.code)
      stream.end()
    })()
  })
  t.match(await send('/'), { statusCode: 200, body: 'a' })
  t.match(late, /^FST_TENANCY_/)
  t.same(await bodies(), [])
})
