// CON-16: what pg's parser throws on fails its request, and leaves the process alive.
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import { sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'

import { openListener } from '../../packages/postgres/src/registry/open-listener.ts'
import { isLong } from '../support/long.ts'
import { tcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { handle, open, provision, testSecret, type Provisioned } from '../support/tenants.ts'
import { until } from '../support/until.ts'

/** One message of the protocol. */
function message (type: string, body: Buffer, length = body.length + 4): Buffer {
  const header = Buffer.alloc(5)
  header.write(type)
  header.writeUInt32BE(length, 1)
  return Buffer.concat([header, body])
}

function int16 (...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2)
  values.forEach((value, at) => bytes.writeInt16BE(value, at * 2))
  return bytes
}

/** Messages that cannot be read, each in front of what the server really sent. */
const broken: Record<string, Buffer> = {
  'a description of 1,000 columns that is cut': message('T', int16(1_000)),
  'a row of -1 columns': message('D', int16(-1)),
  'a row of 30,000 columns that is cut': message('D', int16(30_000)),
  'a message of unknown type': message('!', Buffer.from('what?')),
  'an error without its end': message('E', Buffer.from('SERROR\0C42P01\0Mno end')),
  'a notice without its end': message('N', Buffer.from('SNOTICE')),
  'a message shorter than its length': message('C', Buffer.alloc(0), 2),
  'a message of 3 GiB': message('D', int16(1), 3 * 2 ** 30),
  'an unknown kind of authentication': message('R', Buffer.from([0, 0, 0, 99]))
}

interface World {
  readonly on: Provisioned
  readonly proxy: TcpProxy
  readonly through: Provisioned
}

async function world (t: Test): Promise<World> {
  const on = await provision(t)
  const proxy = await tcpProxy(t, on.url)
  const through = (url: string): string =>
    Object.assign(new URL(url), { hostname: '127.0.0.1', port: String(proxy.port) }).href
  return {
    on,
    proxy,
    through: {
      ...on,
      url: through(on.url),
      registryUrl: through(on.registryUrl),
      systemUrl: through(on.systemUrl),
      ownerUrl: through(on.ownerUrl),
      superUrl: through(on.superUrl)
    }
  }
}

/** Puts a message in front of the next answer alone. */
function inject (proxy: TcpProxy, bytes: Buffer): void {
  proxy.tamper(chunk => {
    proxy.tamper(undefined)
    return Buffer.concat([bytes, chunk])
  })
}

t.test('CON-16 a statement fails with 503, its connection is closed, and the next one runs', async t => {
  const { proxy, through } = await world(t)
  const database = await open(t, through, { pool: { max: 1 } })
  const { db } = handle(t, database, 'acme')
  const pid = async (): Promise<number | undefined> =>
    (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db)).rows[0]?.pid
  const works: (() => Promise<unknown>)[] = [
    pid,
    () => db.transaction().execute(trx => sql`select 1`.execute(trx)),
    async () => {
      for await (const _ of db.selectFrom('notes').selectAll().stream(1)) t.fail('a row')
    }
  ]
  for (const [name, bytes] of Object.entries(broken)) {
    for (const work of works) {
      const before = await pid()
      inject(proxy, bytes)
      await t.rejects(work(), { code: 'FST_TENANCY_DATABASE_UNAVAILABLE' }, name)
      t.not(await pid(), before, 'another connection')
    }
  }
})

t.test('CON-16 look-ups, work across tenants, the manager and the listener', async t => {
  const { on, proxy, through } = await world(t)
  const options = {
    database: {
      url: through.url,
      registryUrl: through.registryUrl,
      systemUrl: through.systemUrl,
      ownerUrl: through.ownerUrl,
      pool: { max: 1 }
    },
    tables: on.tables,
    rls: { secret: testSecret },
    audit: async () => {}
  }
  const database = openDatabase(resolveDatabaseOptions(options))
  t.teardown(() => database.close())
  await database.boot()
  const manager = createManager(options)
  t.teardown(() => manager.close())
  const system = (): Promise<unknown> =>
    database.asSystem({ reason: 'test', actor: 'test' }, ({ db }) => sql`select 1`.execute(db as never))
  const pool = new pg.Pool({ connectionString: through.registryUrl })
  t.teardown(() => pool.end())
  await manager.create({ slug: 'acme' })

  for (const [name, bytes] of Object.entries(broken)) {
    const parts: (() => Promise<unknown>)[] = [() => database.registry.findBySlug('acme'), system, () =>
      manager.update({ slug: 'acme' }, { plan: 'pro' })]
    for (const part of parts) {
      await part()
      inject(proxy, bytes)
      await t.rejects(part(), name)
      await part()
    }
    const listener = await openListener(pool)
    let isEnded = false
    listener?.on('end', () => {
      isEnded = true
    })
    await listener?.query('listen tenancy')
    inject(proxy, bytes)
    await on.admin("notify tenancy, 'all'")
    await until(() => isEnded)
  }
})

t.test('CON-16 a pool of the application, and an idle connection', async t => {
  const { proxy, through } = await world(t)
  const own = new pg.Pool({ connectionString: through.url, max: 1 })
  t.teardown(() => own.end())
  const database = await open(t, { ...through, url: own as never })
  const { db } = handle(t, database, 'acme')
  await db.selectFrom('notes').selectAll().execute()
  for (const bytes of Object.values(broken)) {
    inject(proxy, bytes)
    await t.rejects(db.selectFrom('notes').selectAll().execute(), {
      code: 'FST_TENANCY_DATABASE_UNAVAILABLE'
    })
    t.same(await db.selectFrom('notes').selectAll().execute(), [])
  }
})

t.test('CON-16 the start of a connection', async t => {
  const { proxy, through } = await world(t)
  const database = await open(t, through, { pool: { max: 1 } })
  const { db } = handle(t, database, 'acme')
  for (const [name, bytes] of Object.entries(broken)) {
    proxy.cut()
    await until(() => proxy.connections === 0)
    inject(proxy, bytes)
    const failed = await db.selectFrom('notes').selectAll().execute().then(
      () => undefined,
      (error: unknown) => error
    )
    proxy.tamper(undefined)
    if (failed !== undefined) t.match(failed, { statusCode: 503 }, name)
    t.same(await db.selectFrom('notes').selectAll().execute(), [], name)
  }
})

// xorshift32: the same bytes on every machine.
function random (seed: number): () => number {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

t.test('CON-16 fuzz: replies with changed, dropped and doubled bytes break nothing else', async t => {
  const { on, proxy, through } = await world(t)
  await on.admin(
    "insert into notes (tenant_id, body) select 'acme', repeat('x', n) from generate_series(1, 50) n"
  )
  // What never ends is given up after statementTimeout and five seconds more; a cut comes before.
  const database = await open(t, through, { pool: { max: 1 } })
  const { db } = handle(t, database, 'acme')
  const rounds = isLong ? 1_000 : 200
  let failures = 0
  for (let round = 1; round <= rounds; round++) {
    const next = random(round * 7_919)
    proxy.tamper(chunk => {
      proxy.tamper(undefined)
      const at = Math.floor(next() * chunk.length)
      const length = 1 + Math.floor(next() * 8)
      const part = chunk.subarray(at, at + length)
      const changed = [
        () => [chunk.subarray(0, at), part.map(byte => byte ^ (1 + Math.floor(next() * 255))),
          chunk.subarray(at + length)],
        () => [chunk.subarray(0, at), chunk.subarray(at + length)],
        () => [chunk.subarray(0, at), part, part, chunk.subarray(at + length)],
        () => [chunk.subarray(0, at), message('!', Buffer.alloc(length)), chunk.subarray(at)]
      ][round % 4] as () => Buffer[]
      // The rest does not come: what waits for it must not wait for long.
      setTimeout(() => {
        proxy.cut()
      }, 20)
      return Buffer.concat(changed())
    })
    const work = round % 3 === 0
      ? db.transaction().execute(trx => trx.selectFrom('notes').selectAll().execute())
      : db.selectFrom('notes').select(['id', 'body']).where('id', '>', 10).execute()
    await work.catch(() => {
      failures++
    })
    proxy.tamper(undefined)
    await until(() => proxy.connections === 0)
  }
  t.ok(failures > rounds / 2, `${failures} of ${rounds} failed`)
  // The cut of the last round may still come.
  await until(() =>
    db.selectFrom('notes').selectAll().execute().then(({ length }) => length === 50, () => false)
  )
})

t.test('CON-16 a value of more than 512 MiB', { skip: !isLong && 'takes 2 GB of memory' }, async t => {
  const on = await provision(t)
  const database = await open(t, on, { pool: { max: 1 }, statementTimeout: '2m' })
  const { db } = handle(t, database, 'acme')
  await t.rejects(sql`select repeat('x', 540000000) as x`.execute(db), {
    code: 'FST_TENANCY_DATABASE_UNAVAILABLE'
  })
  t.same(await db.selectFrom('notes').selectAll().execute(), [])
})

t.test('CON-16 a type parser of the application that throws fails its statement alone', async t => {
  const on = await provision(t)
  const types = {
    getTypeParser: (oid: number, format?: 'text' | 'binary') =>
      oid === 20
        ? (text: string) => {
          throw new Error(`no parser for ${text}`)
        }
        : pg.types.getTypeParser(oid, format as 'text')
  } as pg.CustomTypesConfig
  const { db } = handle(t, await open(t, on, { types, pool: { max: 1 } }), 'acme')
  await t.rejects(sql`select n::bigint from generate_series(1, 3) n`.execute(db), {
    message: 'no parser for 1'
  })
  t.same((await sql`select 1 as one`.execute(db)).rows, [{ one: 1 }], 'the connection is usable')
})
