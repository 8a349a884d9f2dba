import type { TenantRecord } from '@fastify-tenancy/core'
import type { DatabaseRuntime, TenantsOptions } from '@fastify-tenancy/database'
import { sql } from 'kysely'
import { connect as connectSocket, createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'

import { isLong } from '../support/long.ts'
import { databaseOf } from '../support/sql.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'
import { databaseTemplate, dropDatabases, world, type Handle } from './strategy-fixture.ts'

// Each round opens a new connection to each of the six databases.
const rounds = isLong ? 50 : 12

// All tests of this file share one database, so tenant names carry the name of the file.
const on = await world(t, {
  isolation: 'database',
  database: { tenants: { url: 'postgres://{database}@localhost/{database}' } }
})
const mark = databaseOf(on.superUrl).slice(2)
const url = databaseTemplate(on.superUrl)
const ids = ['a', 'b', 'c', 'd', 'e', 'f'].map(name => `${name}-${mark}`)
dropDatabases(t, on.superUrl, ids.map(id => `tenant_${id}`))
const { createManager } = await import('@fastify-tenancy/manager')
const manager = createManager({
  isolation: 'database',
  database: { url: on.url, ownerUrl: on.superUrl, tenants: { url } },
  provision: async ({ client }) => {
    await client.query(
      'create table notes (id serial primary key, body text not null, n int not null default 0)'
    )
  }
})
t.teardown(() => manager.close())
const tenants: TenantRecord[] = []
for (const id of ids) tenants.push(await manager.create({ id, slug: `slug-of-${id}` }))
const [a, b] = tenants as [TenantRecord, TenantRecord]

async function open (t: Test, options: TenantsOptions = {}, database = {}): Promise<DatabaseRuntime> {
  const opened = await on.open({ tenants: { url, ...options }, ...database })
  t.teardown(() => opened.close())
  return opened
}

const bodies = async ({ db }: Handle): Promise<string[]> =>
  (await db.selectFrom('notes').select('body').orderBy('id').execute()).map(({ body }) => body)
const connections = async (): Promise<number> =>
  Number(
    (await on.admin("select count(*) from pg_stat_activity where datname like 'tenant\\_%' || $1", [mark]))[0]
      ?.count
  )

t.test('a tenant has its own database and login', async t => {
  const database = await open(t)
  for (const tenant of [a, b])
    await on.handle(database, tenant).db.insertInto('notes').values({ body: `${tenant.id}:1` }).execute()
  t.same(await bodies(on.handle(database, a)), [`${a.id}:1`])
  t.same(await bodies(on.handle(database, b)), [`${b.id}:1`])
  const { rows: [row] } =
    await sql`select current_user as role, current_database() as db, current_setting('search_path') as path`
      .execute(on.handle(database, a).db)
  t.same(row, { role: `tenant_${a.id}`, db: `tenant_${a.id}`, path: '"public", pg_temp' })
})

t.test('INJ-03 INJ-04 INJ-06 INJ-20 no role or setting leads a statement to another tenant', async t => {
  const database = await open(t)
  const { db } = on.handle(database, a)
  for (
    const { rolname } of await on.admin(
      "select rolname from pg_roles where rolname like '%\\_' || substr(md5(current_database()), 1, 8) " +
        "or rolname like 'tenant\\_%' || $1 or rolname like 'pg\\_%' or rolname = session_user",
      [mark]
    )
  ) {
    if (rolname === `tenant_${a.id}`) continue
    await t.rejects(
      sql`select set_config('role', ${rolname}, true), query_to_xml('select body from notes', true, true,
        '')::text`
        .execute(db),
      { code: '42501' },
      String(rolname)
    )
  }
  t.match(
    (await sql`select set_config('role', 'none', true), set_config('tenancy.tenant', ${b.id}, true),
      query_to_xml('select body from notes', true, true, '')::text as xml`
      .execute(db)).rows,
    [{ xml: new RegExp(a.id) }]
  )
  await t.rejects(
    sql.raw(`select * from "tenant_${b.id}".public.notes`).execute(db),
    { code: '0A000' },
    'across databases'
  )
  // A tenant's login may connect to no other tenant's database.
  const { default: pg } = await import('pg')
  const intruder = new pg.Client({
    connectionString: url.replace('{database}', `tenant_${a.id}`).replace('{database}', `tenant_${b.id}`)
  })
  await t.rejects(intruder.connect(), { code: '42501' })
})

t.test("POOL-01 POOL-02 POOL-05 one statement's session state does not reach the next", async t => {
  const database = await open(t, { pool: { max: 1 } }, { statementTimeout: '100ms' })
  const handle = on.handle(database, a)
  await t.rejects(sql`select 1 / 0`.execute(handle.db), { code: '22012' })
  await t.rejects(sql`select pg_sleep(5)`.execute(handle.db), { code: '57014' })
  await sql`select set_config('TimeZone', 'Asia/Tokyo', false)`.execute(handle.db)
  t.not(
    (await sql<{ tz: string }>`select current_setting('TimeZone') as tz`.execute(handle.db)).rows[0]?.tz,
    'Asia/Tokyo'
  )
  const trx = await handle.db.startTransaction().execute()
  await trx.insertInto('notes').values({ body: 'left' }).execute()
  handle.scope.abort()
  t.same(await bodies(on.handle(database, a)), [`${a.id}:1`])
})

t.test('DBT-01 a pool that is evicted in use finishes its work and its queue', async t => {
  const database = await open(t, { maxPools: 1, pool: { max: 1 } })
  const working = on.handle(database, a)
  const trx = await working.db.startTransaction().execute()
  await trx.selectFrom('notes').selectAll().execute()
  const queued = [bodies(working), bodies(on.handle(database, a))]
  await new Promise(resolve => setImmediate(resolve))
  await bodies(on.handle(database, b))
  await trx.selectFrom('notes').selectAll().execute()
  await trx.commit().execute()
  for (const rows of await Promise.all(queued)) t.same(rows, [`${a.id}:1`])
  await until(async () => await connections() <= 1)
})

t.test('DBT-02 DBT-04 many rounds over six tenants with room for two pools: no error, no leak', {
  timeout: 60_000
}, async t => {
  const database = await open(t, { maxPools: 2, pool: { max: 1 } }, { budget: 4 })
  let most = 0
  for (let round = 0; round < rounds; round++) {
    const rows = await Promise.all(
      tenants.map(tenant =>
        sql<{ db: string }>`select current_database() as db`.execute(on.handle(database, tenant).db)
      )
    )
    t.same(rows.map(({ rows: [row] }) => row?.db), tenants.map(({ id }) => `tenant_${id}`))
    if (round % 5 === 0) most = Math.max(most, await connections())
  }
  t.ok(most <= 4, `at most the budget was open, got ${most}`)
  await until(async () => await connections() <= 2)
})

t.test('a tenant has all connections of its own pool and no more', async t => {
  const database = await open(t, { pool: { max: 2 } })
  const { db } = on.handle(database, a)
  const pids = await Promise.all(
    Array.from(
      { length: 6 },
      () => sql<{ pid: number }>`select pg_backend_pid() as pid, pg_sleep(0.02)`.execute(db)
    )
  )
  t.equal(new Set(pids.map(({ rows: [row] }) => row?.pid)).size, 2)
})

t.test('DBT-03 of two first requests at once one makes the pool', async t => {
  let made = 0
  const database = await open(t, {
    url: async tenant => {
      made++
      await new Promise(resolve => setImmediate(resolve))
      return url.replaceAll('{database}', `tenant_${tenant.id}`)
    }
  })
  await Promise.all(Array.from({ length: 10 }, () => bodies(on.handle(database, a))))
  t.equal(made, 1)
})

async function everyone (database: DatabaseRuntime): Promise<PromiseSettledResult<unknown>[]> {
  return Promise.allSettled(
    tenants.map(tenant => sql`select pg_sleep(0.02)`.execute(on.handle(database, tenant).db))
  )
}

t.test('DBT-05 above the budget evict serves all in turn, wait and reject answer 503', async t => {
  const evicting = await open(t, {}, { budget: 2 })
  t.equal((await everyone(evicting)).filter(({ status }) => status === 'fulfilled').length, 6, 'evict')
  await evicting.close()

  for (const whenFull of ['wait', 'reject'] as const) {
    const database = await open(t, {}, {
      budget: { connections: 3, whenFull },
      fairness: { maxWait: '200ms' }
    })
    const ends = await everyone(database)
    const refused = ends.filter(end => end.status === 'rejected')
    t.ok(refused.length >= 3, `${whenFull}: ${refused.length} refused`)
    for (const { reason } of refused)
      t.match(reason, { code: 'FST_TENANCY_DATABASE_BUSY', statusCode: 503, retryAfter: 1 }, whenFull)
    await database.close()
  }
})

t.test('DBT-06 a dead tenant database fails only its own tenant, and recovers', async t => {
  const proxy = await tcpProxy(t, on.superUrl)
  const database = await open(t, {
    connectTimeout: '200ms',
    url: tenant =>
      tenant.id === b.id
        ? url.replaceAll('{database}', `tenant_${tenant.id}`).replace(/@[^/]*/, `@127.0.0.1:${proxy.port}`)
        : url.replaceAll('{database}', `tenant_${tenant.id}`)
  })
  proxy.blackHole()
  for (let i = 0; i < 3; i++)
    await t.rejects(bodies(on.handle(database, b)), {
      code: 'FST_TENANCY_DATABASE_UNAVAILABLE',
      statusCode: 503
    })
  const attempts = proxy.opened
  for (let i = 0; i < 20; i++)
    await t.rejects(bodies(on.handle(database, b)), { code: 'FST_TENANCY_DATABASE_UNAVAILABLE' })
  t.ok(
    proxy.opened <= attempts + 2,
    `${proxy.opened - attempts} attempts for twenty requests: the others do not wait for one`
  )
  t.same(await bodies(on.handle(database, a)), [`${a.id}:1`], 'the other tenant is served')
  proxy.restore()
  await until(() => bodies(on.handle(database, b)).then(() => true, () => false))
})

t.test('DBT-07 no password is thrown, logged, printed or serialized', async t => {
  const server = createServer(socket => socket.destroy()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const port = (server.address() as AddressInfo).port
  const password = 'hunter2secret'
  const urls = [`postgres://u:${password}@127.0.0.1:${port}/x`, `postgres://u:${password}@127.0.0.1:99999/x`,
    `mysql://u:${password}@h/x`, `postgres://u:${password}@[::1/x`,
    url.replaceAll('{database}', `tenant_${a.id}`).replace(':secret@', `:${password}@`)]
  for (const bad of urls) {
    const database = await open(t, { url: () => bad, connectTimeout: '200ms' })
    const error: unknown = await bodies(on.handle(database, a)).then(rows => rows, (error: unknown) => error)
    for (
      const text of [inspect(error, { depth: 10 }), JSON.stringify(error), inspect(database, { depth: 10 }),
        JSON.stringify(database)]
    ) t.notMatch(text, password)
    if (error instanceof Error) t.match(error, { code: 'FST_TENANCY_DATABASE_UNAVAILABLE' })
    await database.close()
  }
  t.ok(connectSocket, 'control: the URLs above hold it')
})

t.test('a URL in the registry may be encrypted; only the hook reads it', async t => {
  const plain = url.replaceAll('{database}', `tenant_${a.id}`)
  const stored = Buffer.from(plain).toString('base64url')
  const database = await open(t, { decrypt: async text => Buffer.from(text, 'base64url').toString() })
  const tenant = { ...a, placement: { shard: 'default', database: stored } }
  t.same(await bodies(on.handle(database, tenant)), [`${a.id}:1`])
})

t.test("TRP-01 a URL that leads to another tenant's database: its marked rows are stopped", async t => {
  await on.admin('select 1')
  const { default: pg } = await import('pg')
  const direct = new URL(on.superUrl)
  direct.pathname = `/tenant_${b.id}`
  const client = new pg.Client({ connectionString: direct.href })
  await client.connect()
  await client.query(
    `create table projects (tenant_id text, name text); grant select on projects to "tenant_${b.id}"; ` +
      `insert into projects values ('${b.id}', '${b.id}:1')`
  )
  await client.end()
  const database = await open(t, { url: () => url.replaceAll('{database}', `tenant_${b.id}`) })
  const read = (): Promise<unknown> => on.handle(database, a).db.selectFrom('projects').selectAll().execute()
  await t.rejects(read(), { code: 'FST_TENANCY_ISOLATION_BREACH' })
  t.equal(
    (await on.handle(database, b).db.selectFrom('projects').selectAll().execute()).length,
    1,
    'control: for its own tenant they pass'
  )
})

t.test('a statement is one wait, and a transaction of k statements k + 1', async t => {
  const proxy = await tcpProxy(t, on.superUrl)
  const database = await open(t, {
    pool: { max: 1 },
    url: tenant =>
      url.replaceAll('{database}', `tenant_${tenant.id}`).replace(/@[^/]*/, `@127.0.0.1:${proxy.port}`)
  })
  const { db } = on.handle(database, a)
  const waitsOf = async (work: () => Promise<unknown>): Promise<number> => {
    proxy.reset()
    await work()
    return proxy.waits
  }
  await bodies(on.handle(database, a))
  await until(async () => await waitsOf(() => bodies(on.handle(database, a))) === 1)
  t.equal(await waitsOf(() => db.insertInto('notes').values({ body: `${a.id}:2` }).execute()), 1)
  t.equal(await waitsOf(() => db.selectFrom('notes').selectAll().where('n', '=', 0).execute()), 1)
  for (const k of [1, 3]) {
    t.equal(
      await waitsOf(() =>
        db.transaction().execute(async trx => {
          for (let i = 0; i < k; i++) await trx.insertInto('notes').values({ body: `${a.id}:x` }).execute()
        })
      ),
      k + 1
    )
  }
})

t.test('an idle pool is closed, and opened again for the next request', async t => {
  const database = await open(t, { idle: '50ms' })
  await bodies(on.handle(database, a))
  await until(async () => await connections() === 0)
  t.equal(database.health().connections >= 0, true)
  t.ok((await bodies(on.handle(database, a))).length > 0)
})
