import type { AuditEvent, SystemKysely } from '@fastify-tenancy/database'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import type { FastifyInstance } from 'fastify'
import { sql, type Kysely, type RawBuilder } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'

import { systemContext } from '../../packages/database/src/context/system-context.ts'
import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import { dbOf, suite, type SuiteOptions } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { bodies, registered, withUsers, type AllRows } from './work.ts'

const on = await withUsers(await provision(t))
const systemLogin = decodeURIComponent(new URL(on.systemUrl).username)
const audited: AuditEvent[] = []
const who = { reason: 'invoices', actor: 'billing' }
const all = (db: SystemKysely): Kysely<AllRows> => db as unknown as Kysely<AllRows>

async function start (t: Test, options: SuiteOptions = {}): Promise<FastifyInstance> {
  const app = await suite(t, on, {
    registry: registered().registry,
    database: { systemUrl: on.systemUrl },
    audit: event => {
      audited.push(event)
    },
    ...options
  })
  await app.ready()
  return app
}

/** Number of connections of the system's login. */
async function connections (): Promise<number> {
  return (await on.admin('select from pg_stat_activity where usename = $1', [systemLogin])).length
}

t.beforeEach(async () => {
  audited.length = 0
  await on.admin('truncate notes')
  await on.admin(
    "insert into notes (tenant_id, body) values ('id-acme', 'acme:1'), ('id-globex', 'globex:1')"
  )
})

t.test('SYS-01 the handle across tenants only reads, and its audit precedes its first statement', async t => {
  const app = await start(t)
  const rows = await app.tenancy.asSystem(who, async ({ db }) => {
    t.match(audited, [{
      type: 'system-access',
      reason: 'invoices',
      actor: 'billing',
      write: false,
      at: Date
    }])
    t.equal(await connections(), 0, 'nothing was sent before')
    return all(db).selectFrom('notes').select(['tenant_id', 'body']).orderBy('body').execute()
  })
  t.same(rows, [{ tenant_id: 'id-acme', body: 'acme:1' }, { tenant_id: 'id-globex', body: 'globex:1' }])
  t.ok(Object.isFrozen(audited[0]))
  t.equal(audited.length, 1)
})

t.test('SYS-01 the server refuses a write without `write`, also in a requested transaction', async t => {
  const app = await start(t)
  const readOnly = { code: '25006' }
  await app.tenancy.asSystem(who, async ({ db }) => {
    const everything = all(db)
    const insert = { tenant_id: 'id-acme', body: 'system' } as never
    await t.rejects(everything.insertInto('notes').values(insert).execute(), readOnly)
    await t.rejects(everything.deleteFrom('notes').execute(), readOnly)
    await t.rejects(
      everything.transaction().setAccessMode('read write').execute(trx =>
        trx.updateTable('notes').set({ body: 'x' }).execute()
      ),
      readOnly
    )
    await t.rejects(
      sql`with gone as (delete from notes returning body) select * from gone`.execute(everything),
      readOnly
    )
    await t.rejects(sql`select nextval('notes_id_seq')`.execute(everything), readOnly)
    await t.rejects(sql`select * from notes for update`.execute(everything), readOnly)
  })
  t.same(await bodies(on), ['acme:1', 'globex:1'])
  await app.tenancy.asSystem({ ...who, write: true }, async ({ db }) => {
    await all(db).transaction().execute(trx =>
      trx.updateTable('notes').set({ body: 'by the system' }).execute()
    )
    await t.rejects(
      all(db).insertInto('notes').values({ body: 'nobody’s' }).execute(),
      { code: '23502' },
      'no tenant is filled in'
    )
  })
  t.same(await bodies(on), ['by the system', 'by the system'], 'control: with `write` it may')
  t.match(audited, [{ write: false }, { write: true }])
})

t.test('SYS-01 no statement turns read-only off or takes another role', async t => {
  const app = await start(t)
  const owner = (await on.admin<{ owner: string }>(
    "select tableowner as owner from pg_tables where tablename = 'notes'"
  ))[0]?.owner ?? ''
  const attempts: [string, RawBuilder<unknown>][] = [
    ['a function', sql`select set_config('transaction_read_only', 'off', true)`],
    ['for the session', sql`select set_config('default_transaction_read_only', 'off', false)`],
    ['in a CTE before a write', sql`with off as (select set_config('transaction_read_only', 'off', true))
        insert into notes (tenant_id, body) select 'id-acme', 'x' from off`],
    ['behind an escape', sql.raw("select U&\"set\\005fconfig\"('transaction_read_only', 'off', true)")],
    ['a view', sql`update pg_catalog.pg_settings set setting = 'off' where name = 'transaction_read_only'`],
    ['through a function that runs a text',
      sql`select query_to_xml('select set_config(''transaction_read_only'', ''off'', true)', true, true,
        '')`],
    ['another role', sql`select set_config('role', ${owner}, true)`]
  ]
  await app.tenancy.asSystem(who, async ({ db }) => {
    for (const [name, attempt] of attempts)
      await t.rejects(attempt.execute(all(db)), { code: 'FST_TENANCY_QUERY_REFUSED' }, name)
    for (
      const text of ['set transaction read write', 'begin read write', 'commit', 'set role none', 'reset all',
        'do $$ begin end $$', 'create temp table x ()', 'copy notes to stdout', 'listen x']
    ) {
      await t.rejects(sql.raw(text).execute(all(db)), { code: 'FST_TENANCY_QUERY_REFUSED' }, text)
    }
    await t.rejects(sql.raw('select 1; insert into notes values (1)').execute(all(db)), { code: '42601' })
  })
  t.same(await bodies(on), ['acme:1', 'globex:1'])
})

t.test('SYS-01 the server keeps the transaction read-only whatever statement gets through', async t => {
  // Bypasses the handle: sends the context as the driver does, and then an attacker's statements in
  // the same transaction.
  const client = new pg.Client({ connectionString: on.systemUrl })
  await client.connect()
  t.teardown(() => client.end())
  const context = systemContext({
    role: rolesOf(new URL(on.superUrl).pathname.slice(1)).system,
    schema: 'public',
    statementTimeout: 1000,
    lockTimeout: 1000,
    idleInTransaction: 1000,
    plans: 'custom',
    isReadOnly: true
  })({ processID: null }, false)
  for (
    const [attack, code] of [
      ["select set_config('transaction_read_only', 'off', true)", '25001'],
      ["select set_config('transaction_read_only', 'off', false)", '25001'],
      ['set transaction read write', '25001'],
      ["insert into notes (tenant_id, body) values ('id-acme', 'x')", '25006']
    ] as const
  ) {
    await client.query('begin')
    await client.query(context.text, [...context.values])
    await t.rejects(client.query(attack), { code }, attack)
    await client.query('rollback')
  }
})

t.test('SYS-01 the handle is closed when the work has ended, also by a failure', async t => {
  const app = await start(t)
  const boom = new Error('boom')
  let kept = undefined as SystemKysely | undefined
  await t.rejects(
    app.tenancy.asSystem(who, ({ db }) => {
      kept = db
      throw boom
    }),
    boom
  )
  await t.rejects(all(kept as SystemKysely).selectFrom('notes').selectAll().execute(), {
    code: 'FST_TENANCY_SCOPE_CLOSED'
  })
  await t.rejects(app.tenancy.asSystem(who, async ({ db }) => db.destroy()))
})

t.test('closing the application ends work across tenants that is under way', async t => {
  const app = await start(t)
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
  const { promise, resolve } = Promise.withResolvers<void>()
  const work = app.tenancy.asSystem(
    { ...who, write: true },
    ({ db }) =>
      all(db).transaction().execute(async trx => {
        await trx.updateTable('notes').set({ body: 'never' }).execute()
        begin()
        await promise
        await trx.selectFrom('notes').selectAll().execute()
      })
  )
  work.catch(() => {})
  await begun
  await app.close()
  resolve()
  await t.rejects(work)
  t.same(await bodies(on), ['acme:1', 'globex:1'])
})

t.test('SYS-01 without systemUrl, without a sink, or with one that fails, nothing runs', async t => {
  const runs: string[] = []
  const attempt = (app: FastifyInstance, options: object = who): Promise<unknown> =>
    app.tenancy.asSystem(options as typeof who, ({ db }) => {
      runs.push('ran')
      return all(db).selectFrom('notes').selectAll().execute()
    })
  await t.rejects(attempt(await start(t, { database: {} })), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /database\.systemUrl is required/
  })
  const silent = await suite(t, on, {
    registry: registered().registry,
    database: { systemUrl: on.systemUrl }
  })
  await silent.ready()
  await t.rejects(attempt(silent), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /options\.audit is required/
  })
  const cause = new Error('disk full')
  await t.rejects(
    attempt(
      await start(t, {
        audit: () => {
          throw cause
        }
      })
    ),
    { code: 'FST_TENANCY_AUDIT_FAILED', cause }
  )
  await t.rejects(attempt(await start(t, { audit: () => Promise.reject(cause) })), {
    code: 'FST_TENANCY_AUDIT_FAILED'
  })
  const app = await start(t)
  for (
    const options of [{}, { reason: 'x' }, { actor: 'x' }, { reason: '', actor: 'x' }, {
      ...who,
      write: 'yes'
    }, { ...who, readonly: false }]
  ) {
    await t.rejects(attempt(app, options), { code: 'FST_TENANCY_OPTION_INVALID' }, JSON.stringify(options))
  }
  t.same(audited, [])
  t.same(runs, [])
})

t.test('SYS-01 a systemUrl without the privileges is refused with the command to run', async t => {
  const app = await start(t, { database: { systemUrl: on.url } })
  await t.rejects(app.tenancy.asSystem(who, ({ db }) => all(db).selectFrom('notes').selectAll().execute()), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /systemUrl may not become/
  })
  const gone = await start(t, { database: { systemUrl: 'postgres://nobody@127.0.0.1:1/none' } })
  await t.rejects(gone.tenancy.asSystem(who, ({ db }) => all(db).selectFrom('notes').selectAll().execute()), {
    code: 'FST_TENANCY_DATABASE_UNAVAILABLE'
  })
})

t.test('SYS-01 it is no part of the transaction of the request that calls it', async t => {
  const app = await suite(t, on, {
    registry: registered().registry,
    database: { systemUrl: on.systemUrl },
    audit: event => {
      audited.push(event)
    }
  })
  app.post('/', { config: { tenancy: { transaction: true } } }, async (request, reply) => {
    await dbOf(request).insertInto('notes').values({ body: 'acme:2' }).execute()
    const seen = await app.tenancy.asSystem({ ...who, write: true }, async ({ db }) => {
      await all(db).insertInto('notes').values({ tenant_id: 'id-globex', body: 'globex:2' } as never)
        .execute()
      return all(db).selectFrom('notes').select('body').orderBy('body').execute()
    })
    return reply.code(409).send(seen)
  })
  const { body } = await app.inject({ method: 'POST', url: '/', headers: { host: 'acme.example.com' } })
  t.equal(
    body,
    '[{"body":"acme:1"},{"body":"globex:1"},{"body":"globex:2"}]',
    'what is not committed is not seen'
  )
  t.same(
    await bodies(on),
    ['acme:1', 'globex:1', 'globex:2'],
    'and what it did stays when the request is rolled back'
  )
})

t.test("one statement's session state reaches no later one: one connection, both modes", async t => {
  const app = await start(t)
  const settings = sql<
    { role: string; tenant: string; mode: string }
  >`select current_user as role, current_setting('tenancy.tenant') as tenant,
    current_setting('transaction_read_only') as mode`
  for (const write of [true, false, true]) {
    const { rows: [row] } = await app.tenancy.asSystem(
      { ...who, write },
      ({ db }) => settings.execute(all(db))
    )
    t.match(row, { role: /^tenancy_system_/, tenant: '', mode: write ? 'off' : 'on' })
  }
})

t.test('global is the tables that no tenant sees, and no others', async t => {
  const app = await start(t)
  const users = app.tenancy.global as unknown as Kysely<AllRows>
  t.same(await users.selectFrom('users').select('email').orderBy('id').execute(), [{ email: 'ann@acme' }, {
    email: 'bob@globex'
  }])
  await users.transaction().execute(trx => trx.insertInto('users').values({ email: 'eve' }).execute())
  await users.deleteFrom('users').where('email', '=', 'eve').execute()
  await t.rejects(users.selectFrom('notes').selectAll().execute(), { code: '42501' }, 'a tenant’s table')
  await t.rejects(users.selectFrom('countries').selectAll().execute(), { code: '42501' })
  await t.rejects(sql`select * from tenancy.tenants`.execute(users), { code: '42501' })
  await t.rejects(sql`select set_config('role', 'none', true)`.execute(users), {
    code: 'FST_TENANCY_QUERY_REFUSED'
  }, 'its login may become more')
  t.equal(app.tenancy.global, users as unknown, 'one handle for the life of the application')
  await app.close()
  await t.rejects(users.selectFrom('users').selectAll().execute(), { code: 'FST_TENANCY_SCOPE_CLOSED' })
})

t.test('without globalUrl an application login that lacks the global role is refused', async t => {
  const app = await start(t, { database: {} })
  const users = app.tenancy.global as unknown as Kysely<AllRows>
  await t.rejects(users.selectFrom('users').selectAll().execute(), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /give options.database.globalUrl/
  })
  await t.rejects(
    app.tenancy.run(
      { slug: 'acme' },
      ({ db }) => (db as unknown as Kysely<AllRows>).selectFrom('users').selectAll().execute()
    ),
    { code: '42501' },
    'and no tenant sees them'
  )
})

t.test('in development, where one login may do everything, global works on it', async t => {
  const app = await start(t, { database: { url: on.superUrl } })
  const users = app.tenancy.global as unknown as Kysely<AllRows>
  t.equal((await users.selectFrom('users').selectAll().execute()).length, 2)
  await t.rejects(users.selectFrom('notes').selectAll().execute(), { code: '42501' })
  t.same(
    await app.tenancy.run(
      { slug: 'acme' },
      ({ db }) => (db as unknown as Kysely<AllRows>).selectFrom('notes').select('body').execute()
    ),
    [{ body: 'acme:1' }]
  )
})

t.test('each shard has a handle across its tenants, and all count in the budget', async t => {
  const eu = await provision(t)
  await eu.admin("insert into notes (tenant_id, body) values ('id-initech', 'initech:eu')")
  const app = await start(t, {
    database: {
      systemUrl: on.systemUrl,
      budget: { connections: 3, whenFull: 'reject' },
      shards: { eu: { url: eu.url, systemUrl: eu.systemUrl }, us: eu.url }
    }
  })
  const read = (options: object = {}): Promise<{ body: string }[]> =>
    app.tenancy.asSystem(
      { ...who, ...options },
      ({ db }) => all(db).selectFrom('notes').select('body').orderBy('body').execute()
    )
  const full = await read().then(() => false, (error: { code: string }) => error.code)
  t.equal(full, 'FST_TENANCY_DATABASE_BUSY', 'the boot has opened one connection to each shard')
  await t.rejects(read({ shard: 'us' }), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /database\.shards\.us\.systemUrl is required/
  })

  const roomy = await start(t, {
    database: { systemUrl: on.systemUrl, shards: { eu: { url: eu.url, systemUrl: eu.systemUrl } } }
  })
  const before = roomy.tenancy.health().database.connections
  const rows = await roomy.tenancy.asSystem(
    { ...who, shard: 'eu' },
    ({ db }) => all(db).selectFrom('notes').select('body').execute()
  )
  t.same(rows, [{ body: 'initech:eu' }])
  t.match(audited.at(-1), { shard: 'eu' })
  t.equal(roomy.tenancy.health().database.connections, before + 1)
})

t.test('behind PgBouncer in transaction mode both handles work, and read-only stays with its transaction', {
  skip: noPgBouncer
}, async t => {
  const systemUrl = await pgBouncer(t, on.systemUrl)
  const app = await start(t, { database: { systemUrl } })
  const users = app.tenancy.global as unknown as Kysely<AllRows>
  // Concurrent readers and writers over a pooler whose backend changes with each transaction.
  const ends = await Promise.allSettled(Array.from({ length: 40 }, async (_, n) => {
    if (n % 4 === 3) return users.selectFrom('users').selectAll().where('id', '>', 0).execute()
    return app.tenancy.asSystem({ ...who, write: n % 2 === 0 }, async ({ db }) => {
      // A prepared statement that its backend does not know cannot be retried inside a transaction.
      await all(db).transaction().execute(trx =>
        trx.selectFrom('notes').selectAll().where('body', '<>', String(n)).execute()
      )
      await all(db).insertInto('notes').values({ tenant_id: 'id-acme', body: `system:${n}` } as never)
        .execute()
    })
  }))
  const refused = ends.flatMap((end, n) =>
    end.status === 'rejected' ? [`${n}:${(end.reason as { code: string }).code}`] : []
  )
  t.same(refused, Array.from({ length: 40 }, (_, n) => n).filter(n => n % 4 === 1).map(n => `${n}:25006`))
  t.equal((await bodies(on)).length, 2 + 20)
})
