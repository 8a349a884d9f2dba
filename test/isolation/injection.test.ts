// The attacker writes SQL into the application's own statement. What each mode withstands, and what
// it does not, as docs/strategies.md says.
import { assertOwn } from '@fastify-tenancy/testing'
import { sql, type RawBuilder } from 'kysely'
import t from 'tap'

import { signingKey, signToken } from '../../packages/postgres/src/context-token.ts'
import { handle, open, provision, testSecret, type Handle } from '../support/tenants.ts'

/** Rows that an injected statement brought back, or the error that it ended with. */
async function attack ({ db }: Handle, statement: RawBuilder<unknown>): Promise<string> {
  return statement.execute(db).then(
    ({ rows }) => JSON.stringify(rows),
    (error: Error) => `error: ${error.message}`
  )
}

const asAcme = { tenant: 'acme', tenants: ['acme', 'globex'] }
const toGlobex = sql`set_config('tenancy.tenant', 'globex', true)`

const attacks: Readonly<Record<string, RawBuilder<unknown>>> = {
  'INJ-01 a second statement behind a semicolon': sql.raw(
    'select body from notes; reset role; select body from notes'
  ),
  'INJ-03 UNION with set_config':
    sql`select body from notes where false union all select ${toGlobex} union all select body from notes`,
  'INJ-03 set_config of the role to every other':
    sql`select set_config('role', rolname, true) from pg_roles where rolname like 'tenancy%' union all
      select body from notes`,
  'INJ-04 OR with set_config': sql`select body from notes where body = 'x' or ${toGlobex} is not null`,
  'INJ-04 set_config in a lateral loop':
    sql`select inner_notes.body from (select ${toGlobex} as was) changed, lateral (select body from notes
      where changed.was is not null) inner_notes`,
  'INJ-04 set_config in a materialized CTE':
    sql`with changed as materialized (select ${toGlobex} as was) select body from changed, notes`,
  'INJ-06 set_config and query_to_xml':
    sql`select ${toGlobex}, query_to_xml('select body from notes', true, true, '')::text`,
  'INJ-06 set_config inside query_to_xml':
    sql`select query_to_xml('select set_config(''tenancy.tenant'', ''globex'', true) from notes', true,
      true, '')::text, query_to_xml('select body from notes', true, true, '')::text`,
  'INJ-12 row_security off':
    sql`select set_config('row_security', 'off', true), query_to_xml('select body from notes', true, true,
      '')::text`
}

t.test("signed: no injected statement brings back another tenant's row", async t => {
  const on = await provision(t)
  const database = await open(t, on)
  const acme = handle(t, database, 'acme')
  const globex = handle(t, database, 'globex')
  await acme.db.insertInto('notes').values({ body: 'acme:1' }).execute()
  await globex.db.insertInto('notes').values({ body: 'globex:1' }).execute()

  for (const [name, statement] of Object.entries(attacks)) {
    const answer = await attack(acme, statement)
    t.doesNotThrow(() => assertOwn(answer, { ...asAcme, where: name }), name)
  }

  await t.test("INJ-20 the application's login may become nothing that reads more", async t => {
    const roles = await on.admin<{ rolname: string }>(`
      select rolname from pg_roles
      where rolsuper or rolname like 'pg\\_%' or position(current_database() in rolname) > 0 or rolname
        like '%' || substr(md5(current_database()), 1, 8)
      union all select 'none'`)
    // Those of other tests come and go meanwhile.
    t.ok(roles.length > 15, `${roles.length} roles`)
    for (const { rolname } of roles) {
      const answer = await attack(
        acme,
        sql`select set_config('role', ${rolname}, true), query_to_xml('select body from notes', true,
          true, '')::text, query_to_xml('select slug from tenancy.tenants', true, true, '')::text`
      )
      t.match(answer, /^error: permission denied/, rolname)
    }
  })

  await t.test('INJ-10 a forged, foreign, expired, cut or stretched token is an error', async t => {
    const key = signingKey(testSecret)
    const pid = Number(
      (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(globex.db)).rows[0]?.pid
    )
    const good = signToken({ key, tenant: 'globex', pid: null })
    const tokens = {
      'signed with another key': signToken({
        key: signingKey('another secret of 32 characters and more'),
        tenant: 'globex',
        pid: null
      }),
      'of another backend': signToken({ key, tenant: 'globex', pid: pid + 100_000 }),
      expired: signToken({ key, tenant: 'globex', pid: null, now: Date.now() - 300_000 }),
      truncated: good.slice(0, -1),
      stretched: `${good}|`,
      'with another tenant in it': good.replace('globex', 'acme'),
      empty: ''
    }
    for (const [name, token] of Object.entries(tokens)) {
      // The body is read by a second execution, inside query_to_xml, when both settings are in
      // place.
      const answer = await attack(
        acme,
        sql`select ${toGlobex}, set_config('tenancy.token', ${token}, true),
          query_to_xml('select body from notes', true, true, '')::text`
      )
      t.match(answer, /^error: tenant context refused/, name)
    }
    // What the tests hold and an attacker does not: with the secret, the same statement does get
    // through.
    const control = await attack(
      acme,
      sql`select ${toGlobex}, set_config('tenancy.token', ${good}, true),
        query_to_xml('select body from notes', true, true, '')::text`
    )
    t.match(control, /globex:1/, 'control: a token signed with the right key')
  })

  t.match(
    await attack(acme, sql`select * from tenancy.signing_keys`),
    /^error: permission denied/,
    'INJ-11 the keys'
  )
  t.match(
    await attack(acme, sql`insert into notes (tenant_id, body) values ('globex', 'planted')`),
    /^error: new row violates row-level security/,
    'a row for another tenant'
  )
  t.match(
    await attack(
      acme,
      sql`with was as (select ${toGlobex} as t), planted as (insert into notes (body) select 'planted'
        from was returning body) select * from planted`
    ),
    /^error|\[\]/,
    'a default that was changed on the way'
  )
  t.same(
    await globex.db.selectFrom('notes').select('body').execute(),
    [{ body: 'globex:1' }],
    'nothing was written'
  )
})

t.test("INJ-17 the application's login reads nothing before a tenant is set", async t => {
  const on = await provision(t)
  const { default: pg } = await import('pg')
  const client = new pg.Client({ connectionString: on.url })
  await client.connect()
  t.teardown(() => client.end())
  for (const table of ['notes', 'countries', 'unlisted', 'tenancy.tenants', 'tenancy.signing_keys']) {
    await t.rejects(client.query(`select * from ${table}`), { code: '42501' }, table)
  }
})

t.test('a table in no list is refused, a shared one is read-only', async t => {
  const on = await provision(t)
  const acme = handle(t, await open(t, on), 'acme')
  t.same(await acme.db.selectFrom('countries').selectAll().orderBy('code').execute(), [{ code: 'DE' }, {
    code: 'NL'
  }])
  await t.rejects(acme.db.insertInto('countries').values({ code: 'FR' }).execute(), { code: '42501' })
  await t.rejects(sql`select * from unlisted`.execute(acme.db), { code: '42501' })
  await t.rejects(sql`select * into planted from notes`.execute(acme.db), { code: '42501' })
})

t.test('plain: the policy stops mistakes, and an attacker gets through, as the guide says', async t => {
  const on = await provision(t, { secret: false })
  const database = await open(t, on)
  const acme = handle(t, database, 'acme')
  const globex = handle(t, database, 'globex')
  await acme.db.insertInto('notes').values({ body: 'acme:1' }).execute()
  await globex.db.insertInto('notes').values({ body: 'globex:1' }).execute()

  t.equal(assertOwn(await attack(acme, sql`select body from notes`), asAcme), 1)
  t.match(
    await attack(acme, sql`insert into notes (tenant_id, body) values ('globex', 'planted')`),
    /^error: new row violates/
  )
  t.match(await attack(acme, attacks['INJ-01 a second statement behind a semicolon'] ?? sql``), /^error/)
  // These are the controls of the test above: the same statements, and they leak.
  const leaked = await Promise.all(
    Object.keys(attacks).map(async name => (await attack(acme, attacks[name] ?? sql``)).includes('globex:1'))
  )
  t.ok(leaked.filter(Boolean).length >= 3, 'several of the attacks succeed without a signature')
})
