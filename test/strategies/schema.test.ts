import { tenantRole } from '@fastify-tenancy/core/keys'
import { sql } from 'kysely'
import t, { type Test } from 'tap'

import { databaseOf } from '../support/sql.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'
import { ownTables, world, type Handle } from './strategy-fixture.ts'

const on = await world(t, { isolation: 'schema' })
const [acme, globex] = [await on.create('acme'), await on.create('globex')]

/** One connection for all tenants, so that session state of one tenant would reach the next. */
async function oneConnection (t: Test, options = {}): Promise<{ a: Handle; b: Handle }> {
  await on.admin('truncate tenant_acme.notes, tenant_globex.notes restart identity')
  const database = await on.open({ pool: { max: 1 }, ...options })
  t.teardown(() => database.close())
  const [a, b] = [on.handle(database, acme), on.handle(database, globex)]
  await a.db.insertInto('notes').values({ body: 'acme:1' }).execute()
  await b.db.insertInto('notes').values({ body: 'globex:1' }).execute()
  return { a, b }
}

const bodies = async ({ db }: Handle): Promise<string[]> =>
  (await db.selectFrom('notes').select('body').orderBy('id').execute()).map(({ body }) => body)

t.test('a tenant has its tables in its own schema and reads the reference tables', async t => {
  const { a, b } = await oneConnection(t)
  t.same(await bodies(a), ['acme:1'])
  t.same(await bodies(b), ['globex:1'])
  t.same(await on.admin('select body from tenant_acme.notes'), [{ body: 'acme:1' }])
  t.equal((await a.db.selectFrom('countries').selectAll().execute()).length, 2)
  await t.rejects(a.db.insertInto('countries').values({ code: 'FR' }).execute(), { code: '42501' })
  t.match(acme.placement, { shard: 'default', schema: 'tenant_acme' })
})

t.test("every place where a table can stand means the tenant's own", async t => {
  const { a } = await oneConnection(t)
  const { db } = a
  await db.insertInto('projects').values({ name: 'acme:1' }).execute()
  t.equal(
    (await db.selectFrom('notes as x').innerJoin('projects', 'projects.name', 'x.body').select('x.body')
      .execute()).length,
    1
  )
  t.equal(
    (await db.selectFrom('notes').leftJoin('countries', 'countries.code', 'notes.body').selectAll('notes')
      .execute()).length,
    1
  )
  t.equal(
    (await db.with('notes', qb => qb.selectFrom('notes').select('body').where('n', '=', 0)).selectFrom(
      'notes'
    ).select('notes.body').execute()).length,
    1,
    'a name of WITH hides the table from the query, and not from its own body'
  )
  t.equal(
    (await db.withRecursive('tree(n)', qb =>
      qb.selectFrom('notes').select('n').unionAll(
        qb.selectFrom('tree').select(sql<number>`n + 1`.as('n')).where('n', '<', 3)
      ))
      .selectFrom('tree').select('n').execute()).length,
    4
  )
  t.equal(
    (await db.with('projects', qb => qb.selectFrom('notes').select('body as name')).insertInto('projects')
      .expression(qb => qb.selectFrom('projects').select('name')).returning('name').execute()).length,
    1,
    'the target of an insert is never a name of WITH'
  )
  t.equal(
    (await db.updateTable('notes').from('projects').set({ n: 5 }).whereRef('projects.name', '=', 'notes.body')
      .returning('notes.n').execute()).length,
    1
  )
  t.equal((await db.selectFrom('notes').selectAll().forUpdate(['notes']).execute()).length, 1)
  t.equal(
    (await db.mergeInto('projects').using('notes', 'notes.body', 'projects.name').whenMatched().thenDelete()
      .executeTakeFirst()).numChangedRows,
    2n
  )
  t.equal(
    (await db.deleteFrom('notes').using('countries').where('countries.code', '=', 'NL').returning('notes.id')
      .execute()).length,
    1
  )
  t.equal(
    (await sql`select * from ${sql.table('notes')}`.execute(db)).rows.length,
    0,
    "raw SQL means the tenant's own too"
  )
})

t.test("SCH-01 a table that the tenant's schema lacks is an error, whatever public has", async t => {
  const { a } = await oneConnection(t)
  await on.admin(
    "create table public.plans (name text); insert into public.plans values ('public'); " +
      'grant select on public.plans to public'
  )
  await t.rejects(sql`select * from plans`.execute(a.db), { code: '42P01' })
  await t.rejects(a.db.selectFrom('plans' as 'notes').selectAll().execute(), { code: '42P01' })
  await t.rejects(
    sql`select * from public.notes`.execute(a.db),
    { code: '42501' },
    'the shared tables of other strategies'
  )
  t.equal((await on.admin('select * from public.plans')).length, 1, 'control: it is there')
})

t.test('SCH-02 POOL-01 after error, timeout or abort the connection serves the next schema', async t => {
  const { a, b } = await oneConnection(t, { statementTimeout: '100ms' })
  await t.rejects(sql`select 1 / 0`.execute(a.db), { code: '22012' })
  t.same(await bodies(b), ['globex:1'])
  await t.rejects(sql`select pg_sleep(5)`.execute(a.db), { code: '57014' })
  t.same(await bodies(b), ['globex:1'])
  const trx = await a.db.startTransaction().execute()
  await trx.insertInto('notes').values({ body: 'acme:left' }).execute()
  a.scope.abort()
  t.same(await bodies(b), ['globex:1'])
})

t.test('SCH-03 names that PostgreSQL would cut alike stay apart', async t => {
  const id = 'x'.repeat(57)
  const [one, two] = [await on.create(`${id}1`, { slug: 'long-one' }),
    await on.create(`${id}2`, { slug: 'long-two' })]
  t.not(one.placement.schema, two.placement.schema)
  const database = await on.open({ pool: { max: 1 } })
  for (const [tenant, body] of [[one, 'one:1'], [two, 'two:1']] as const)
    await on.handle(database, tenant).db.insertInto('notes').values({ body }).execute()
  t.same(await bodies(on.handle(database, one)), ['one:1'])
  t.same(await bodies(on.handle(database, two)), ['two:1'])

  await on.admin('create schema tenant_mine; create table tenant_mine.notes (secret text)')
  await t.rejects(on.create('mine'), { code: 'FST_TENANCY_TENANT_CONFLICT', statusCode: 409 })
  t.same(
    await on.admin(
      "select has_schema_privilege(role.rolname, 'tenant_mine', 'usage') as may from pg_roles role " +
        "where rolname like 'tenant\\_mine%' || substr(md5(current_database()), 1, 8)"
    ),
    [],
    'nothing of it was touched'
  )
  await on.admin('drop schema tenant_mine cascade')
  t.match(await on.create('mine'), { status: 'active' }, 'its names are free again')
})

t.test("SCH-04 SCH-07 another tenant's schema is refused by name and by privileges", async t => {
  const { a } = await oneConnection(t)
  await t.rejects(a.db.withSchema('tenant_globex').selectFrom('notes').selectAll().execute(), {
    code: 'FST_TENANCY_QUERY_REFUSED'
  })
  await t.rejects(sql`select * from ${sql.table('tenant_globex.notes')}`.execute(a.db), {
    code: 'FST_TENANCY_QUERY_REFUSED'
  })
  t.equal((await a.db.withSchema('tenant_acme').selectFrom('notes').selectAll().execute()).length, 1)
  for (
    const statement of [sql`select * from tenant_globex.notes`,
      sql`insert into tenant_globex.notes (body) values ('planted')`,
      sql`select * from ${sql.id('tenant_globex', 'notes')}`]
  ) {
    await t.rejects(statement.execute(a.db), { code: '42501' })
  }
})

t.test('SCH-05 a temporary table cannot pose as a real one', async t => {
  const { a, b } = await oneConnection(t)
  await t.rejects(sql`create temporary table notes (body text)`.execute(a.db), {
    code: 'FST_TENANCY_QUERY_REFUSED'
  })
  await t.rejects(sql`select * into temporary notes from notes`.execute(a.db), {
    code: 'FST_TENANCY_QUERY_REFUSED'
  })
  t.same(await bodies(b), ['globex:1'])
})

t.test('INJ-21 INJ-23 what one statement sets reaches neither the next nor another tenant', async t => {
  const { a, b } = await oneConnection(t)
  for (
    const [name, value] of [['search_path', 'tenant_globex'], ['role', 'none'], ['role',
      tenantRole('globex', databaseOf(on.superUrl))]] as const
  ) {
    await a.db.transaction().execute(async trx => {
      await sql`select set_config(${name}, ${value}, true)`.execute(trx)
      t.same((await sql`select body from notes`.execute(trx)).rows, [{ body: 'acme:1' }], `${name} ${value}`)
    })
    await sql`select set_config(${name}, ${value}, false)`.execute(a.db)
    t.same(await bodies(b), ['globex:1'])
    t.same((await sql`select body from notes`.execute(b.db)).rows, [{ body: 'globex:1' }])
  }
})

t.test('injected SQL reaches another schema, as the guide says', async t => {
  const { a } = await oneConnection(t)
  const leaked = await sql`select set_config('role', ${
    tenantRole('globex', databaseOf(on.superUrl))
  }, true), query_to_xml('select body from tenant_globex.notes', true, true, '')::text as xml`.execute(a.db)
  t.match(JSON.stringify(leaked.rows), /globex:1/, "the login may become every tenant's role")
  for (
    const role of ['none', `tenancy_owner_${tenantRole('x', databaseOf(on.superUrl)).slice(-8)}`, 'postgres']
  ) {
    await t.rejects(
      sql`select set_config('role', ${role}, true), query_to_xml('select body from tenant_globex.notes', true,
        true, '')::text`
        .execute(a.db),
      { code: '42501' },
      `INJ-20 ${role}`
    )
  }
  await t.rejects(
    sql`select query_to_xml('select body from tenant_globex.notes', true, true, '')::text`.execute(a.db),
    { code: '42501' },
    'without a change of role it does not'
  )
  await t.rejects(sql`select * from tenancy.tenants`.execute(a.db), { code: '42501' })
})

t.test('a statement is one wait, and a transaction of k statements k + 1', async t => {
  const proxy = await tcpProxy(t, on.url)
  const database = await on.open({ url: proxy.url, pool: { max: 1 } })
  const { db } = on.handle(database, acme)
  const waitsOf = async (work: () => Promise<unknown>): Promise<number> => {
    proxy.reset()
    await work()
    return proxy.waits
  }
  await db.selectFrom('notes').selectAll().execute()
  for (const again of [1, 2])
    t.equal(
      await waitsOf(() => db.selectFrom('notes').selectAll().where('n', '=', 0).execute()),
      1,
      `select ${again}`
    )
  t.equal(await waitsOf(() => db.insertInto('notes').values({ body: 'acme:2' }).execute()), 1)
  for (const k of [1, 3]) {
    t.equal(
      await waitsOf(() =>
        db.transaction().execute(async trx => {
          for (let i = 0; i < k; i++) await trx.insertInto('notes').values({ body: `acme:${i}` }).execute()
        })
      ),
      k + 1
    )
  }
})

t.test("TRP-01 another tenant's row in a table with the tenant column is stopped", async t => {
  await on.admin(`
    create table tenant_acme.projects_of (tenant_id text, name text)`)
  await on.admin(
    'drop table tenant_acme.projects; alter table tenant_acme.projects_of rename to projects; ' +
      'grant select, insert on tenant_acme.projects to public; insert into tenant_acme.projects ' +
      "values ('acme', 'acme:1')"
  )
  const database = await on.open({ pool: { max: 1 } })
  const { db } = on.handle(database, acme)
  t.equal((await db.selectFrom('projects').selectAll().execute()).length, 1)
  await on.admin("insert into tenant_acme.projects values ('globex', 'globex:1')")
  await t.rejects(db.selectFrom('projects').selectAll().execute(), { code: 'FST_TENANCY_ISOLATION_BREACH' })
  await on.admin('drop table tenant_acme.projects; create table tenant_acme.projects (name text not null)')
})

t.test("POOL-19 one raw text means each tenant's own tables, prepared once for each", async t => {
  const { a, b } = await oneConnection(t)
  await on.admin('alter table tenant_globex.notes add column extra text')
  for (let i = 0; i < 10; i++) {
    t.same((await sql`select * from notes where n = ${0}`.execute(a.db)).rows, [{
      id: 1,
      body: 'acme:1',
      n: 0
    }])
    t.same((await sql`select * from notes where n = ${0}`.execute(b.db)).rows, [{
      id: 1,
      body: 'globex:1',
      n: 0,
      extra: null
    }])
  }
  await on.admin('alter table tenant_globex.notes drop column extra')
})

const backend = async ({ db }: Handle): Promise<unknown> =>
  (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db)).rows[0]?.pid

t.test('a connection is replaced when it has served 200 schemas', { timeout: 60_000 }, async t => {
  const { a } = await oneConnection(t)
  const database = await on.open({ pool: { max: 1 } })
  const pids = new Set<unknown>()
  // No schemas exist for these names. Only the number of schemas that the connection has served
  // matters.
  for (let i = 0; i < 450; i++)
    pids.add(
      await backend(on.handle(database, { ...acme, placement: { shard: 'default', schema: `s${i}` } }))
    )
  t.equal(pids.size, 3)
  t.same(await bodies(a), ['acme:1'])
})

t.test("the owner's login, no superuser, provisions and resumes a creation", async t => {
  let fails = true
  const on = await world(t, {
    isolation: 'schema',
    provision: async ({ client }) => {
      await client.query(ownTables)
      if (fails) throw new Error('cut short')
    }
  })
  const { createManager } = await import('@fastify-tenancy/manager')
  const { loginUrl } = await import('../support/sql.ts')
  const ownerUrl = loginUrl(on.superUrl, 'owner')
  const manager = createManager({
    isolation: 'schema',
    database: { url: on.url, ownerUrl },
    tables: { shared: ['countries'] },
    provision: async ({ client }) => {
      await client.query(ownTables)
      if (fails) throw new Error('cut short')
    }
  })
  t.teardown(() => manager.close())
  await manager.init({ url: on.superUrl })
  await t.rejects(manager.create({ slug: 'acme-inc', id: 'acme' }), { message: 'cut short' })
  t.match(await manager.get({ slug: 'acme-inc' }), { status: 'provisioning' })
  t.same(
    await on.admin("select nspname from pg_namespace where nspname = 'tenant_acme'"),
    [],
    'nothing is left of it'
  )
  fails = false
  const tenant = await manager.create({ slug: 'acme-inc' })
  t.match(tenant, { id: 'acme', status: 'active' })
  await manager.init({ url: on.superUrl })
  const { db } = on.handle(await on.open(), tenant)
  await db.insertInto('notes').values({ body: 'acme:1' }).execute()
  t.equal((await db.selectFrom('notes').selectAll().execute()).length, 1)
  await t.rejects(manager.create({ slug: 'acme-inc' }), { code: 'FST_TENANCY_TENANT_CONFLICT' })
})

t.test('LIF-02 of several creates of one slug at once one wins, and the others get a conflict', async t => {
  const ends = await Promise.allSettled(
    Array.from({ length: 2 }, (_, n) => on.create(`twin-${n}`, { slug: 'twins' }))
  )
  t.equal(ends.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const end of ends)
    if (end.status === 'rejected')
      t.match(end.reason, {
        code: 'FST_TENANCY_TENANT_CONFLICT',
        statusCode: 409
      })
  t.equal((await on.admin("select from pg_namespace where nspname like 'tenant\\_twin-%'")).length, 1)
})

t.test('a number that another tenant drew from its sequence is not visible', async t => {
  const { a, b } = await oneConnection(t)
  await b.db.insertInto('notes').values({ body: 'globex:2' }).execute()
  for (
    const question of ['select lastval()', "select currval('tenant_globex.notes_id_seq')",
      "select query_to_xml('select last' || 'val()', true, true, '')",
      'select last_value from tenant_globex.notes_id_seq']
  ) {
    await t.rejects(sql.raw(question).execute(a.db), { code: /42501|55000/ }, question)
  }
})
