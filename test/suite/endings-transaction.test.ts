import { memoryRegistry } from '@fastify-tenancy/core'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import tenancy from 'fastify-tenancy'
import type { Kysely } from 'kysely'
import { connect as connectHttp2 } from 'node:http2'
import { connect, type AddressInfo } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import t, { type Test } from 'tap'

import { dbOf, suite, tenants } from '../support/suite.ts'
import { provision, type Rows } from '../support/tenants.ts'
import { until } from '../support/until.ts'
import { end } from './endings.ts'
import { dbIn } from './work.ts'

const config = { tenancy: { transaction: true } }
const on = await provision(t)

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown

interface World {
  readonly app: FastifyInstance
  /** Sends a request to the one handler. */
  send(): ReturnType<typeof end>
  bodies(): Promise<string[]>
}

const bodies = async (): Promise<string[]> =>
  (await on.admin<{ body: string }>('select body from notes order by id')).map(({ body }) => body)

async function serve (
  t: Test,
  handler: Handler,
  prepare: (app: FastifyInstance) => unknown = () => {}
): Promise<World> {
  await on.admin('truncate notes restart identity')
  const app = await suite(t, on, { database: { url: on.url, pool: { max: 1 } } })
  await prepare(app)
  app.get('/', { config }, async (request, reply) => handler(request, reply))
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, send: () => end(app, '/', []), bodies }
}

const write = (db: Kysely<Rows>, body: string): Promise<unknown> =>
  db.insertInto('notes').values({ body }).execute()
const duplicate = (db: Kysely<Rows>): Promise<unknown> =>
  db.insertInto('notes').values({ id: 1, body: 'duplicate' }).execute()
const note = (error: Error): string => `${(error as { code?: string }).code ?? error.name}: ${error.message}`

t.test('END-04 a second inner transaction at the same time is refused, and the first one stands', async t => {
  const { send, bodies } = await serve(t, async request => {
    const db = dbOf(request)
    const results = await Promise.allSettled(
      ['one', 'two'].map(name =>
        db.transaction().execute(async trx => {
          await write(trx, `${name}:1`)
          await write(trx, `${name}:2`)
        })
      )
    )
    return results.map(result => result.status === 'rejected' ? note(result.reason as Error) : 'done')
  })
  t.match(JSON.parse((await send()).body), ['done', /FST_TENANCY_QUERY_REFUSED.*await the first one/])
  t.same(await bodies(), ['one:1', 'one:2'])
})

for (const first of ['commit', 'rollback'] as const) {
  t.test(`END-04 a second startTransaction() is refused until ${first} of the first`, async t => {
    const { send, bodies } = await serve(t, async request => {
      const db = dbOf(request)
      const one = await db.startTransaction().execute()
      await write(one, 'one')
      const refused = await db.startTransaction().execute().then(() => 'begun', note)
      await one[first]().execute()
      const two = await db.startTransaction().execute()
      await write(two, 'two')
      await two.commit().execute()
      return refused
    })
    const { status, body } = await send()
    t.equal(status, 200)
    t.match(body, /FST_TENANCY_QUERY_REFUSED/)
    t.same(await bodies(), first === 'commit' ? ['one', 'two'] : ['two'])
  })
}

t.test('END-04 in run({ transaction }) too', async t => {
  const { app, bodies } = await serve(t, () => 'unused')
  const results = await app.tenancy.run({ slug: 'acme' }, async work => {
    const db = dbIn(work)
    return Promise.allSettled([1, 2].map(n => db.transaction().execute(trx => write(trx, `run:${n}`))))
  }, { transaction: true })
  t.same(results.map(({ status }) => status), ['fulfilled', 'rejected'])
  t.same(await bodies(), ['run:1'])
})

t.test('END-04 an error caught inside rolls back to that transaction’s savepoint only', async t => {
  const { send, bodies } = await serve(t, async request => {
    const db = dbOf(request)
    await write(db, 'before')
    const whole = await db.transaction().execute(async trx => {
      await write(trx, 'inside')
      await duplicate(trx).catch(() => {})
    }).then(() => 'done', note)
    const trx = await db.startTransaction().execute()
    await duplicate(trx).catch(() => {})
    const controlled = await trx.commit().execute().then(() => 'done', note)
    const last = await db.startTransaction().execute()
    const saved = await last.savepoint('point').execute()
    await duplicate(saved).catch(() => {})
    await saved.rollbackToSavepoint('point').execute()
    await write(saved, 'saved')
    await saved.commit().execute()
    await write(db, 'after')
    return [whole, controlled]
  })
  const { status, body } = await send()
  t.equal(status, 200, body)
  t.match(JSON.parse(body), [/rolled back/, /rolled back/], 'what was rolled back is not said to be done')
  t.same(await bodies(), ['before', 'saved', 'after'])
})

t.test("END-04 another statement's write during an inner transaction is not lost silently", async t => {
  const { send, bodies } = await serve(t, async request => {
    const db = dbOf(request)
    await write(db, 'before')
    await db.transaction().execute(async trx => {
      await write(trx, 'inside')
      await write(db, 'beside')
      await duplicate(trx)
    }).catch(() => {})
    return 'fine'
  })
  t.match(await send(), { status: 500, body: /FST_TENANCY_QUERY_REFUSED/ })
  t.same(await bodies(), [])
})

t.test('END-04 a statement beside an inner transaction that commits is committed with it', async t => {
  const { send, bodies } = await serve(t, async request => {
    const db = dbOf(request)
    await db.transaction().execute(async trx => {
      await write(trx, 'inside')
      await write(db, 'beside')
    })
    await db.transaction().execute(async trx => {
      await write(trx, 'undone')
      await db.selectFrom('notes').select('id').execute()
      throw new Error('undo')
    }).catch(() => {})
    return 'fine'
  })
  t.equal((await send()).status, 200)
  t.same(await bodies(), ['inside', 'beside'])
})

t.test('END-05 of an inner transaction that is open at the reply nothing is committed', async t => {
  let late: Promise<unknown> = Promise.resolve()
  const { promise: replied, resolve: go } = Promise.withResolvers<void>()
  const { send, bodies } = await serve(t, async request => {
    const db = dbOf(request)
    await write(db, 'outer')
    await new Promise<void>(resolve => {
      late = db.transaction().execute(async trx => {
        await write(trx, 'inner')
        resolve()
        await replied
        await write(trx, 'late')
      }).catch(note)
    })
    return 'ok'
  })
  t.match(await send(), { status: 200, body: 'ok' })
  go()
  t.match(await late, /FST_TENANCY_SCOPE_CLOSED/)
  t.same(await bodies(), ['outer'])
})

t.test('END-05 nor of one that startTransaction() left open', async t => {
  const { send, bodies } = await serve(t, async request => {
    await write(dbOf(request), 'outer')
    await write(await dbOf(request).startTransaction().execute(), 'inner')
    return 'ok'
  })
  t.equal((await send()).status, 200)
  t.same(await bodies(), ['outer'])
})

t.test('END-06 a statement that was not awaited, and fails, takes the reply with it', async t => {
  const { send, bodies } = await serve(t, async request => {
    await write(dbOf(request), 'one')
    duplicate(dbOf(request)).catch(() => {})
    // The statement has been sent by then.
    await new Promise(resolve => setImmediate(resolve))
    return 'ok'
  })
  t.equal((await send()).status, 500)
  t.same(await bodies(), [])
})

t.test('END-03 a stream that uses the transaction too late fails with a clear message', async t => {
  let failure = ''
  const { send, bodies } = await serve(t, async request => {
    await write(dbOf(request), 'written')
    return Readable.from((async function* () {
      yield 'first'
      // Wait until the transaction has ended.
      await until(() =>
        dbOf(request).selectFrom('notes').select('id').execute().then(() => false, (error: Error) => {
          failure = note(error)
          return true
        })
      )
      yield 'never read'
      throw new Error(failure)
    })())
  })
  t.match(await send(), { status: 200, body: /^first/, isCut: true })
  t.match(failure, /FST_TENANCY_SCOPE_CLOSED.*A stream that needs the database later/)
  t.same(await bodies(), ['written'])
})

t.test('END-03 streamed rows of the transaction: few are sent, many refused before a byte', async t => {
  const { app, send, bodies } = await serve(t, async request => {
    await write(dbOf(request), 'written')
    const rows = dbOf(request).selectFrom('notes').select('body').stream(2)
    return Readable.from((async function* () {
      for await (const { body } of rows) yield body
    })())
  })
  t.match(await send(), { status: 200, body: 'written' })
  await on.admin(
    "insert into notes (tenant_id, id, body) select 'id-acme', n, 'many' from generate_series(100, 900) n"
  )
  t.match(await send(), { status: 500, body: /FST_TENANCY_SCOPE_CLOSED/ })
  t.equal((await bodies()).filter(body => body === 'written').length, 1)
  t.equal(
    (await app.inject({ url: '/', headers: { host: 'acme.example.com' } })).statusCode,
    500,
    'the pool of one connection serves on'
  )
})

for (const kind of ['a stream', 'a web stream'] as const) {
  t.test(`END-06 an event stream as ${kind} commits at once, and its head leaves`, async t => {
    const source = new PassThrough()
    const { app, bodies } = await serve(t, async (request, reply) => {
      await write(dbOf(request), 'written')
      void reply.type('text/event-stream')
      return kind === 'a stream' ? source : Readable.toWeb(source)
    })
    let text = ''
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1').on('data', data => {
      text += String(data)
    })
    socket.write('GET / HTTP/1.1\r\nHost: acme.example.com\r\n\r\n')
    await until(() => text.includes('200 OK'))
    t.same(await bodies(), ['written'], 'before the first event')
    source.write('data: 1\n\n')
    await until(() => text.includes('data: 1'))
    source.destroy(new Error('the source failed'))
    await until(() => socket.closed)
    t.notMatch(text, '500')
  })
}

t.test('END-06 an event stream whose header cannot be sent is an error, and rolls back', async t => {
  const { send, bodies } = await serve(t, async (request, reply) => {
    await write(dbOf(request), 'written')
    void reply.type('text/event-stream').header('x-bad', 'a\nb')
    return new PassThrough()
  })
  t.equal((await send()).status, 500)
  t.same(await bodies(), [])
})

t.test('END-06 a trailer that throws is an error in time', async t => {
  const { send, bodies } = await serve(t, async (request, reply) => {
    await write(dbOf(request), 'written')
    void reply.trailer('x-sum', () => {
      throw new Error('trailer')
    })
    return 'text'
  })
  await send()
  t.same(await bodies(), [])
})

t.test('END-06 a status message that cannot be sent is an error in time, for a stream too', async t => {
  for (const payload of [() => 'text', () => Readable.from(['one'])]) {
    const { send, bodies } = await serve(t, async (request, reply) => {
      await write(dbOf(request), 'written')
      reply.raw.statusMessage = 'bad\nmessage'
      return payload()
    })
    await send()
    t.same(await bodies(), [])
  }
})

t.test('END-01 an error whose own handler answers 200 is rolled back', async t => {
  const { send, bodies } = await serve(t, async request => {
    await write(dbOf(request), 'written')
    throw new Error('handler')
  }, app => {
    app.setErrorHandler(async () => ({ all: 'right' }))
  })
  t.match(await send(), { status: 200, body: '{"all":"right"}' })
  t.same(await bodies(), [])
})

t.test('TXN-02 reply.raw and hijacked replies bypass Fastify, so they roll back', async t => {
  for (const isHijacked of [true, false]) {
    const { app, send, bodies } = await serve(t, async (request, reply) => {
      await write(dbOf(request), 'written')
      if (isHijacked) reply.hijack()
      reply.raw.end('mine')
    })
    t.match(await send(), { status: 200, body: 'mine' })
    await until(() => app.tenantDatabase.health().connections === 0 || bodies().then(all => all.length === 0))
    t.same(await bodies(), [])
  }
})

t.test('END-06 a large reply over HTTP/2 is whole', async t => {
  await on.admin('truncate notes restart identity')
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: on.url,
    tables: on.tables,
    registry: memoryRegistry(tenants),
    rls: { secret: on.secret ?? '' }
  })
  const large = 'x'.repeat(300_000)
  app.get<{ Params: { kind: string } }>('/:kind', { config }, async (request, reply) => {
    const { kind } = request.params
    await write(dbOf(request), kind)
    if (kind === 'text') return large
    if (kind === 'stream') return Readable.from([large, large])
    if (kind === 'header') return reply.header('x-bad', 'a\nb').send(large)
    return reply.header('etag', ['a', 'b'] as never).send(large)
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = connectHttp2(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.teardown(() => client.close())
  const get = async (path: string): Promise<[number, number]> => {
    const stream = client.request({ ':path': path, ':authority': 'acme.example.com' })
    const status = new Promise<number>(resolve =>
      stream.once('response', headers => {
        resolve(Number(headers[':status']))
      })
    )
    let length = 0
    for await (const chunk of stream) length += (chunk as Buffer).length
    return [await status, length]
  }
  t.same(await get('/text'), [200, 300_000])
  t.same(await get('/stream'), [200, 600_000])
  t.equal((await get('/header'))[0], 500)
  t.equal((await get('/single'))[0], 500)
  t.same(await bodies(), ['text', 'stream'])
})
