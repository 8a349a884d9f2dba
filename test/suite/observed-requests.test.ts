// What logs, metrics and signals show of requests that are refused, time out, or lose their client.
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import tenancy, { memoryRegistry } from 'fastify-tenancy'
import { sql } from 'kysely'
import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'

import { dbOf, tenants } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'

const on = await provision(t)

interface Line {
  readonly level: number
  readonly msg: string
  readonly req?: { tenant?: string }
  readonly res?: { statusCode?: number }
  readonly tenant?: string
}

interface Served {
  readonly app: FastifyInstance
  readonly lines: Line[]
  /** Sends text over a connection of its own and returns what arrived, once it is closed. */
  send(text: string): Promise<string>
}

async function serve (t: Test, prepare: (app: FastifyInstance) => unknown): Promise<Served> {
  const lines: Line[] = []
  const app = Fastify({
    logger: {
      level: 'trace',
      stream: {
        write: (line: string) => {
          lines.push(JSON.parse(line) as Line)
        }
      },
      serializers: { req: request => ({ tenant: String((request as FastifyRequest).tenant?.slug) }) }
    }
  })
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: on.url,
    rls: { secret: on.secret ?? '' },
    tables: on.tables,
    registry: memoryRegistry(tenants),
    rateLimit: { limits: { tenants: { globex: { rpm: 1 } } } }
  })
  await prepare(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  return {
    app,
    lines,
    async send (text) {
      const socket = connect(port, '127.0.0.1').on('error', () => {})
      let received = ''
      socket.on('data', data => {
        received += String(data)
      })
      socket.write(text)
      await once(socket, 'close')
      return received
    }
  }
}

const get = (path: string, host: string, more = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${more}Connection: close\r\n\r\n`

t.test('END-09 serializers and metric labels read request.tenant on every request', async t => {
  const samples: string[] = []
  const { send, lines } = await serve(t, app => {
    for (const hook of ['onRequest', 'onSend', 'onError', 'onResponse'] as const) {
      app.addHook(hook as 'onRequest', async request => {
        samples.push(`${hook} ${String((request.tenant as { slug?: string } | undefined)?.slug)}`)
      })
    }
    app.get('/', async () => 'ok')
    app.get('/off', { config: { tenancy: 'off' } }, async () => 'off')
    app.get('/optional', { config: { tenancy: 'optional' } }, async () => 'optional')
    app.get('/keys', async request => {
      const keys: string[] = []
      for (const name in request) keys.push(name)
      return { keys, own: Object.keys(request) }
    })
  })
  const cases: [string, string, string | undefined][] = [
    [get('/', 'acme.example.com'), '200', 'acme'],
    [get('/off', 'acme.example.com'), '200', undefined],
    [get('/optional', 'example.com'), '200', undefined],
    [get('/', 'example.com'), '400', undefined],
    [get('/', 'nobody.example.com'), '404', undefined],
    [get('/', 'a@b'), '400', undefined],
    [get('/nowhere', 'acme.example.com'), '404', 'acme'],
    [get('/', 'globex.example.com'), '200', 'globex'],
    [get('/', 'globex.example.com'), '429', 'globex'],
    [get('/%zz', 'acme.example.com'), '400', undefined],
    ['GET / HTTP/1.1\r\nConnection: close\r\n\r\n', '400', undefined]
  ]
  for (const [text, status, tenant] of cases) {
    samples.length = 0
    t.match(await send(text), `HTTP/1.1 ${status}`, text)
    if (tenant !== undefined)
      t.ok(
        samples.every(sample => sample.endsWith(` ${tenant}`) || sample.startsWith('onRequest')),
        samples.join()
      )
    else t.ok(samples.every(sample => sample.endsWith(' undefined')), samples.join())
  }
  const { keys, own } = JSON.parse(
    (await send(get('/keys', 'acme.example.com'))).split('\r\n\r\n')[1] ?? ''
  ) as { keys: string[]; own: string[] }
  t.notOk(
    [...keys, ...own].some(name => ['tenant', 'db', 'cache', 'tenancy', 'tenantSource'].includes(name)),
    'none of ours is enumerable'
  )
  t.notOk(lines.some(({ level }) => level >= 50), JSON.stringify(lines.filter(({ level }) => level >= 50)))
})

for (const kind of ['a statement', 'its signal', 'a transaction', 'a stream'] as const) {
  t.test(`CHG-05 a client that goes during ${kind} is no error in the log`, async t => {
    let hasBegun = false
    let settled = ''
    const handlers = {
      'a statement': (request: FastifyRequest) => sql`select pg_sleep(60)`.execute(dbOf(request)),
      'its signal': async (request: FastifyRequest) => {
        const { signal } = request.tenancy
        hasBegun = true
        await once(signal, 'abort')
        throw signal.reason
      },
      'a transaction': (request: FastifyRequest) =>
        dbOf(request).transaction().execute(trx => sql`select pg_sleep(60)`.execute(trx)),
      'a stream': async (request: FastifyRequest) => {
        for await (
          const row of dbOf(request).selectFrom('notes').select(sql<string>`pg_sleep(60)::text`.as('slept'))
            .stream()
        ) void row
      }
    }
    await on.admin("insert into notes (tenant_id, body) values ('id-acme', 'one')")
    const { app, lines } = await serve(t, app => {
      app.get('/', { config: { tenancy: { transaction: kind === 'a transaction' } } }, async request => {
        try {
          return await handlers[kind](request)
        } finally {
          settled = 'settled'
        }
      })
    })
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {})
    socket.write(get('/', 'acme.example.com'))
    await until(async () =>
      hasBegun ||
      (await on.admin(
          "select from pg_stat_activity where datname = current_database() and query like '%pg_sleep%' " +
            "and state = 'active' and pid <> pg_backend_pid()"
        )).length === 1
    )
    socket.destroy()
    await until(() => settled && lines.some(({ msg }) => /client has gone/.test(msg)))
    t.same(lines.filter(({ level, res }) => level >= 50 || (res?.statusCode ?? 0) >= 500), [])
  })
}

t.test("handlerTimeout aborts request.tenancy.signal and the request's statements", async t => {
  let reason: unknown
  const { app } = await serve(t, app => {
    app.get('/', { handlerTimeout: 100 }, async request => {
      request.tenancy.signal.addEventListener('abort', () => {
        reason = request.tenancy.signal.reason
      })
      return sql`select pg_sleep(60)`.execute(dbOf(request))
    })
    app.get(
      '/transaction',
      { handlerTimeout: 100, config: { tenancy: { transaction: true } } },
      async request => {
        await dbOf(request).insertInto('notes').values({ body: 'timed out' }).execute()
        return sql`select pg_sleep(60)`.execute(dbOf(request))
      }
    )
  })
  const { statusCode, body } = await app.inject({ url: '/', headers: { host: 'acme.example.com' } })
  t.equal(statusCode, 503)
  t.match(body, 'FST_ERR_HANDLER_TIMEOUT')
  t.match(reason, { code: 'FST_ERR_HANDLER_TIMEOUT' })
  t.equal((await app.inject({ url: '/transaction', headers: { host: 'acme.example.com' } })).statusCode, 503)
  await until(async () =>
    (await on.admin(
      "select from pg_stat_activity where datname = current_database() and query like '%pg_sleep%' " +
        "and state = 'active' and pid <> pg_backend_pid()"
    )).length === 0
  )
  t.same(await on.admin("select from notes where body = 'timed out'"), [])
})
