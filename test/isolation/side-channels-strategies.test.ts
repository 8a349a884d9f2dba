// What the server itself tells one tenant about another in strategies `schema` and `database`. Each
// test is one cell of the README's table. Strategy `rls` is in side-channels-server.test.ts.
import type { TenantRecord } from '@fastify-tenancy/core'
import { tenantRole } from '@fastify-tenancy/core/keys'
import { sql, type Kysely } from 'kysely'
import type pg from 'pg'
import t, { type Test } from 'tap'

import { databaseTemplate, world } from '../strategies/strategy-fixture.ts'
import { connect, databaseOf } from '../support/sql.ts'

const strategies = ['schema', 'database'] as const
type Strategy = typeof strategies[number]

const on = await world(t, {
  isolation: 'schema',
  database: superUrl => ({ tenants: { url: databaseTemplate(superUrl) } })
})
const name = databaseOf(on.superUrl)
const pair = async (isolation: Strategy): Promise<readonly [TenantRecord, TenantRecord]> => [
  await on.create(`${name}_${isolation}_a`, { isolation }),
  await on.create(`${name}_${isolation}_b`, { isolation })
]
const tenants = { schema: await pair('schema'), database: await pair('database') }
const opened = await on.open()

const dbOf = (strategy: Strategy, index: 0 | 1): Kysely<never> =>
  on.handle(opened, tenants[strategy][index]).db as never
const schemaOf = (strategy: Strategy): string =>
  strategy === 'schema' ? `tenant_${tenants.schema[0].id}` : 'public'
const urlOf = (strategy: Strategy, index: 0 | 1): string =>
  strategy === 'schema'
    ? on.url
    : databaseTemplate(on.superUrl).replaceAll('{database}', `tenant_${tenants.database[index].id}`)

/** A session of one tenant, as the application has it inside a transaction. */
async function sessionOf (t: Test, strategy: Strategy, index: 0 | 1): Promise<pg.Client> {
  const client = await connect(t, urlOf(strategy, index))
  if (strategy === 'schema')
    await client.query("select set_config('role', $1, false)", [
      tenantRole(tenants.schema[index].id, name)
    ])
  return client
}

async function ask (db: Kysely<never>, text: string): Promise<string> {
  return sql<{ n: unknown }>`${sql.raw(text)}`.execute(db).then(
    ({ rows }) => rows.map(({ n }) => String(n)).join(),
    (error: { code?: string }) => error.code ?? 'no code'
  )
}

/** SQL that was injected into a statement and takes the role of its login. */
const asLogin = (text: string): string =>
  `with step as materialized (select set_config('role', 'none', true) as role) select told.* from step
    cross join lateral (${text} where step.role is not null) told`

const insert = async (strategy: Strategy, index: 0 | 1, rows: number): Promise<string> =>
  ask(
    dbOf(strategy, index),
    `insert into notes (body) select 'x' from generate_series(1, ${rows}) returning id as n`
  )

for (const strategy of strategies) {
  const isDatabase = strategy === 'database'
  t.test(`CON-15 ${strategy}: the texts of another tenant's statements`, async t => {
    const acme = await sessionOf(t, strategy, 0)
    await acme.query("select 'acme:secret'")
    const own = await sessionOf(t, strategy, 1)
    await own.query("select 'globex:own'")
    const text = asLogin('select query as n from pg_stat_activity')
    const read = await ask(dbOf(strategy, 1), text)
    t.match(read, /globex:own/, 'control: statements of the own login')
    t.equal(/acme:secret/.test(read), !isDatabase)

    await acme.query({ name: 'of acme', text: 'select $1::text as "acme:prepared"', values: ['x'] })
    const names = "select string_agg(statement, ' ') as texts from pg_prepared_statements"
    const texts = async (client: pg.Client): Promise<string> =>
      JSON.stringify((await client.query(names)).rows)
    t.match(await texts(acme), /acme:prepared/, 'control')
    // The next borrower of this connection: in strategy `database` it is another login's.
    const next = isDatabase ? own : acme
    if (!isDatabase)
      await acme.query("select set_config('role', 'none', false), set_config('role', $1, false)", [
        tenantRole(tenants.schema[1].id, name)
      ])
    t.equal(/acme:prepared/.test(await texts(next)), !isDatabase)
  })

  t.test(`CON-15 ${strategy}: counts, sizes and estimates of another tenant's tables`, async t => {
    await insert(strategy, 1, 1)
    const admin = await connect(t, isDatabase ? adminUrl(0) : on.superUrl)
    await admin.query(
      `insert into ${schemaOf(strategy)}.notes (body) select 'x' from generate_series(1, 500);
        analyze ${schemaOf(strategy)}.notes; select pg_stat_force_next_flush()`
    )
    const of = `relname = 'notes' and ${isDatabase ? 'true' : `nspname = '${schemaOf(strategy)}'`}`
    const classes = 'from pg_class c join pg_namespace on pg_namespace.oid = relnamespace'
    const db = dbOf(strategy, 1)
    const [inserted, size, estimate] = [
      await ask(
        db,
        `select n_tup_ins as n from pg_stat_user_tables where ${of.replace('nspname', 'schemaname')}`
      ),
      await ask(db, `select pg_relation_size(c.oid) as n ${classes} where ${of}`),
      await ask(db, `select reltuples::int as n ${classes} where ${of}`)
    ].map(Number)
    t.equal(Number(inserted) >= 500, !isDatabase, `inserted ${inserted}`)
    t.equal(Number(size) > 8192, !isDatabase, `size ${size}`)
    t.equal(estimate === 500, !isDatabase, `estimate ${estimate}`)
    t.ok(Number(size) > 0, 'control: of its own table it reads the size')
  })

  t.test(`CON-15 ${strategy}: sequences of another tenant`, async t => {
    const [before] = (await insert(strategy, 1, 1)).split(',')
    await insert(strategy, 0, 7)
    t.equal(Number(await insert(strategy, 1, 1)) - Number(before), 1, "none of another tenant's")
    if (isDatabase) return
    const sequence = `"${schemaOf(strategy)}".notes_id_seq`
    for (const text of [`select last_value as n from ${sequence}`, `select nextval('${sequence}') as n`])
      t.equal(await ask(dbOf(strategy, 1), text), '42501', text)
    t.equal(
      await ask(
        dbOf(strategy, 1),
        `select last_value as n from pg_sequences where schemaname = '${schemaOf(strategy)}'`
      ),
      'null'
    )
  })

  t.test(`CON-15 ${strategy}: keys of advisory locks`, async t => {
    const free = "select pg_try_advisory_xact_lock(hashtextextended('invoices', 0)) as n"
    await dbOf(strategy, 0).transaction().execute(async trx => {
      t.equal(await ask(trx, free), 'true')
      t.equal(await ask(dbOf(strategy, 1), free), String(isDatabase))
      t.equal(await ask(dbOf(strategy, 1), free.replace('invoices', 'globex invoices')), 'true', 'control')
    })
    t.equal(await ask(dbOf(strategy, 1), free), 'true')
  })
}

function adminUrl (index: 0 | 1): string {
  return on.superUrl.replace(/\/[^/]*$/, `/tenant_${tenants.database[index].id}`)
}

t.test('CON-15 database: pg_stat_database counts the rows of each database for every login', async t => {
  const admin = await connect(t, adminUrl(0))
  await admin.query(
    "insert into notes (body) select 'x' from generate_series(1, 300); select pg_stat_force_next_flush()"
  )
  const other = `'tenant_${tenants.database[0].id}'`
  const db = dbOf('database', 1)
  t.ok(Number(await ask(db, `select tup_inserted as n from pg_stat_database where datname = ${other}`)) > 300)
  t.equal(await ask(db, `select pg_database_size(${other}) as n`), '42501', 'its size is hidden')
})

t.test('CON-15 schema, hardened: texts, counts and sizes are denied, and estimates stay', async t => {
  await on.manager.init({ url: on.superUrl, harden: true })
  const db = dbOf('schema', 1)
  const classes = `from pg_class c where relnamespace = '"${schemaOf('schema')}"'::regnamespace`
  for (
    const text of ['select query as n from pg_stat_activity',
      'select n_tup_ins as n from pg_stat_user_tables', 'select statement as n from pg_prepared_statements',
      `select pg_relation_size(c.oid) as n ${classes}`]
  ) t.equal(await ask(db, text), '42501', text)
  t.match(await ask(db, `select reltuples::int as n ${classes} and relname = 'notes'`), /^\d{3}$/)
})
