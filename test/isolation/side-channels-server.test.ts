// What the server itself tells about other tenants: texts of statements, counts, sequences and lock
// keys. Each row of docs/strategies.md on side channels is played here, hardened and not.
import { createManager } from '@fastify-tenancy/manager'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import { sql, type Kysely } from 'kysely'
import type pg from 'pg'
import t, { type Test } from 'tap'

import { connect, databaseOf } from '../support/sql.ts'
import { handle, open, provision, type Provisioned } from '../support/tenants.ts'

async function hardened (t: Test, on: Provisioned): Promise<void> {
  const manager = createManager({
    database: { url: on.url, ownerUrl: on.ownerUrl, registryUrl: on.registryUrl, systemUrl: on.systemUrl },
    tables: on.tables,
    rls: { secret: on.secret }
  })
  t.teardown(() => manager.close())
  t.same((await manager.init({ url: on.superUrl, harden: true })).remarks, [])
}

async function texts (client: pg.Client): Promise<string> {
  return client.query('select statement from pg_prepared_statements').then(
    ({ rows }) => JSON.stringify(rows),
    (error: { code: string }) => error.code
  )
}

/**
 * What a statement that was injected into globex's answers: as the tenant, and after it took the
 * login's own role.
 */
async function injected (db: Kysely<never>, text: string): Promise<string> {
  const run = (query: string): Promise<string> =>
    sql<object>`${sql.raw(query)}`.execute(db).then(
      ({ rows }) => JSON.stringify(rows),
      (error: { code?: string }) => error.code ?? 'no code'
    )
  const tenant = await run(text)
  const login = await run(
    `with step as materialized (select set_config('role', 'none', true) as role) select told.* from step
      cross join lateral (${text} where step.role is not null) told`
  )
  return `${tenant} | ${login}`
}

t.test("CON-15 the text of another tenant's statement, which may hold its values", async t => {
  const on = await provision(t)
  const database = await open(t, on)
  const acme = await connect(t, on.url)
  // Another connection of the same login, in the middle of a statement of acme's.
  await acme.query('begin')
  await acme.query("select set_config('role', $1, true)", [rolesOf(databaseOf(on.superUrl)).app])
  await acme.query("select 'acme:secret'")
  const text = 'select query from pg_stat_activity'
  const before = await injected(handle(t, database, 'globex').db as never, text)
  t.notMatch(before.split(' | ')[0], /acme:secret/, 'as the tenant, the server hides it')
  t.match(before.split(' | ')[1], /acme:secret/, 'control: as the login, it shows it')
  await hardened(t, on)
  t.equal(await injected(handle(t, database, 'globex').db as never, text), '42501 | 42501')
  await acme.query('rollback')
})

t.test('CON-15 the texts that a session has prepared, whoever sent them', async t => {
  const on = await provision(t)
  const client = await connect(t, on.url)
  const role = rolesOf(databaseOf(on.superUrl)).app
  await client.query({ name: 'of acme', text: 'select $1::text as "acme:secret"', values: ['x'] })
  t.match(await texts(client), /acme:secret/, 'control: the login reads them')
  await client.query("select set_config('role', $1, false)", [role])
  t.match(await texts(client), /acme:secret/, 'control: and so does the role of tenants')
  await hardened(t, on)
  t.equal(await texts(client), '42501')
  await client.query('reset role')
  t.equal(await texts(client), '42501')
})

t.test('CON-15 how many rows, changes and bytes the tables of all tenants have', async t => {
  const on = await provision(t)
  const database = await open(t, on)
  await on.admin(
    "insert into notes (tenant_id, body) select 'acme', 'x' from generate_series(1, 500); " +
      "insert into notes (tenant_id, body) values ('globex', 'y'); analyze notes; " +
      'select pg_stat_force_next_flush()'
  )
  const { db } = handle(t, database, 'globex')
  const counts = ["select n_tup_ins as n from pg_stat_user_tables where relname = 'notes'",
    "select pg_relation_size('notes') as n", "select pg_stat_get_tuples_inserted('notes'::regclass) as n"]
  const ask = (text: string): Promise<string> =>
    sql<{ n: string }>`${sql.raw(text)}`.execute(db).then(
      ({ rows }) => String(rows[0]?.n),
      (error: { code?: string }) => error.code ?? 'no code'
    )
  t.equal((await db.selectFrom('notes').selectAll().execute()).length, 1, 'the tenant itself has one row')
  for (const text of counts) t.ok(Number(await ask(text)) > 500, `control: ${text}`)
  await hardened(t, on)
  for (const text of counts) t.equal(await ask(text), '42501', text)
  t.equal(
    await ask("select reltuples::int as n from pg_class where relname = 'notes'"),
    '501',
    'the estimate stays: no privilege hides it, as D424 says'
  )
})

t.test('CON-15 a sequence that tenants share tells how many rows all have made', async t => {
  const on = await provision(t)
  const database = await open(t, on)
  const [acme, globex] = [handle(t, database, 'acme').db, handle(t, database, 'globex').db]
  const make = async (db: typeof acme): Promise<number> =>
    (await db.insertInto('notes').values({ body: 'x' }).returning('id').executeTakeFirstOrThrow()).id
  const first = await make(globex)
  for (let n = 0; n < 7; n++) await make(acme)
  t.equal(await make(globex) - first, 8, "seven of somebody else's")
  t.equal((await globex.selectFrom('notes').selectAll().execute()).length, 2)
  await on.admin(
    'alter table notes drop column id; alter table notes add column id uuid not null default ' +
      'gen_random_uuid()'
  )
  const ids = [await make(globex), await make(globex)]
  t.match(ids.map(String), [/^[0-9a-f-]{36}$/, /^[0-9a-f-]{36}$/], 'a uuid tells nothing')
})

t.test('CON-15 the keys of advisory locks are shared by all tenants of a database', async t => {
  const on = await provision(t)
  const database = await open(t, on)
  const [acme, globex] = [handle(t, database, 'acme').db, handle(t, database, 'globex').db]
  const free = async (key: string): Promise<boolean> =>
    (await sql<{ free: boolean }>`select pg_try_advisory_xact_lock(hashtextextended(${key}, 0)) as free`
      .execute(globex)).rows[0]?.free === true
  await acme.transaction().execute(async trx => {
    await sql`select pg_advisory_xact_lock(hashtextextended('invoices', 0))`.execute(trx)
    t.equal(await free('invoices'), false, 'one tenant keeps the other waiting')
    t.equal(await free('globex invoices'), true, 'control: a key with the tenant in it is free')
  })
  t.equal(await free('invoices'), true)
})
