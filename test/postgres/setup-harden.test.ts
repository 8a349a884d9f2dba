// init with `harden`: PUBLIC loses its default privileges, and the suite still works.
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import { sql, type Kysely } from 'kysely'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, databaseOf, loginOf, loginUrl } from '../support/sql.ts'
import { handle } from '../support/tenants.ts'

const secret = 'a secret of the tests that is long enough'
const tables = { tenant: ['notes'], shared: ['countries'], global: ['accounts'] }
const ddl =
  `create table notes (tenant_id text not null, id serial, body text not null, primary key (tenant_id, id));
  create table countries (code text primary key); create table accounts (id serial primary key, name text);
  insert into countries values ('NL'); insert into notes (tenant_id, body)
    values ('acme', 'acme:1'), ('globex', 'globex:1')`

const calls: Readonly<Record<string, string>> = {
  set_config: "select set_config('tenancy.tenant', 'globex', true)",
  query_to_xml: "select query_to_xml('select 1', true, false, '')",
  table_to_xml: "select table_to_xml('pg_class', true, false, '')",
  ts_stat: "select * from ts_stat('select to_tsvector(1::text)')",
  pg_cancel_backend: 'select pg_cancel_backend(0)',
  pg_terminate_backend: 'select pg_terminate_backend(0)',
  pg_prepared_statement: 'select * from pg_prepared_statements',
  pg_stat_get_activity: 'select query from pg_stat_activity',
  pg_relation_size: "select pg_relation_size('pg_class')",
  pg_stat_get_live_tuples: 'select pg_stat_get_live_tuples(0)',
  pg_notify: "select pg_notify('tenancy', 'all')",
  lo_create: 'select lo_create(0)',
  lo_from_bytea: "select lo_from_bytea(0, '')",
  temporary: 'create temporary table mine (x int)',
  table: 'create table public.mine (x int)'
}

t.test("a stranger's login can do nothing in a hardened database, and all of it in another", async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  // As PostgreSQL 14 creates the schema.
  await admin.query('grant create on schema public to public')
  const { user, password } = loginOf(loginUrl(url, 'stranger'))
  await admin.query(`create role "${user}" login password '${password}'`)
  const client = await connect(t, loginUrl(url, 'stranger'))
  for (const [name, text] of Object.entries(calls)) {
    await client.query('begin')
    await t.resolves(client.query(text), `${name}: before`)
    await client.query('rollback')
  }
  const manager = createManager({ database: url, tables })
  t.teardown(() => manager.close())
  t.same(await manager.init({ harden: true }), { scripts: [], remarks: [], left: [] })
  t.same(await manager.init({ harden: true }), { scripts: [], remarks: [], left: [] }, 'and again')
  t.same(await manager.init(), { scripts: [], remarks: [], left: [] }, 'and without')
  for (const [name, text] of Object.entries(calls))
    await t.rejects(client.query(text), { code: '42501' }, name)
})

t.test('a login that is no superuser hardens what it owns, and gets the rest as a report', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  const owner = loginUrl(url, 'owner')
  const { user, password } = loginOf(owner)
  await admin.query(
    `create role "${user}" login createrole password '${password}'; alter database ${
      databaseOf(url)
    } owner to "${user}"; grant create on schema public to public`
  )
  const manager = createManager({ database: owner, tables })
  t.teardown(() => manager.close())
  const { remarks } = await manager.init({ harden: true })
  t.match(remarks, [
    new RegExp(
      /PUBLIC may call set_config, query_to_xml, .* only a superuser can run `grant execute on function .*; /
        .source +
        /revoke execute on function .*pg_catalog\.set_config\(text, text, boolean\).* from public`/.source
    )
  ])
  t.equal(remarks.length, 1)
  await admin.query(/`(.*)`/.exec(remarks[0] ?? '')?.[1] ?? '')
  await manager.init()
  t.same(
    (await admin.query(
      "select has_function_privilege($1, 'set_config(text,text,boolean)', 'execute') as may",
      [rolesOf(databaseOf(url)).app]
    )).rows,
    [{ may: true }]
  )
  await t.rejects(admin.query(`set role "${user}"; ${calls.query_to_xml ?? ''}`), { code: '42501' })
})

for (const context of ['setting', 'role'] as const) {
  t.test(`in a hardened database the suite works as in any other: context '${context}'`, async t => {
    const superUrl = await freshDatabase(t)
    const admin = await connect(t, superUrl)
    await admin.query(ddl)
    const login = (use: string): string => loginUrl(superUrl, use)
    const [url, registryUrl, systemUrl, ownerUrl] = [login('app'), login('registry'), login('system'),
      login('owner')]
    const separate = { tenantRolesUrl: login('roles'), globalUrl: login('global') }
    const options = {
      database: { url, registryUrl, systemUrl, ownerUrl, ...separate, requireLevel: 3 as const },
      rls: { secret, context },
      tables
    }
    const manager = createManager({
      ...options,
      provision: async ({ client }) => {
        await client.query('create table notes (id serial primary key, body text not null)')
      }
    })
    t.teardown(() => manager.close())
    await manager.init({ url: superUrl, harden: true, tenantRoles: true })
    await manager.protect({ url: superUrl })
    await manager.protect() // as the owner's login
    for (const id of ['acme', 'globex']) await manager.create({ id, slug: `slug-of-${id}` })
    const inSchema = await manager.create({ slug: 'schematic', isolation: 'schema' })
    const audit: unknown[] = []
    const database = openDatabase(resolveDatabaseOptions({
      ...options,
      audit: (event: unknown) => {
        audit.push(event)
      }
    }))
    t.teardown(() => database.close())
    await database.boot()

    const { db } = handle(t, database, 'acme')
    await db.insertInto('notes').values({ body: 'acme:2' }).execute()
    t.same(await db.selectFrom('notes').select('body').orderBy('body').execute(), [{ body: 'acme:1' }, {
      body: 'acme:2'
    }])
    t.same(await db.selectFrom('countries').selectAll().execute(), [{ code: 'NL' }])
    await db.transaction().execute(async trx => {
      await trx.updateTable('notes').set({ body: 'acme:3' }).where('body', '=', 'acme:2').execute()
      t.same((await trx.selectFrom('notes').select('body').orderBy('body').execute()).length, 2)
    })
    await t.rejects(
      db.transaction().execute(async trx => {
        await trx.deleteFrom('notes').execute()
        throw new Error('rolled back')
      }),
      /rolled back/
    )
    await t.rejects(sql`select nothing`.execute(db), { code: '42703' })
    t.equal((await db.selectFrom('notes').selectAll().execute()).length, 2)
    t.equal((await database.registry.findBySlug('slug-of-globex'))?.id, 'globex')
    await (database.global as unknown as Kysely<{ accounts: { id: number; name: string } }>).insertInto(
      'accounts'
    ).values({ id: 1, name: 'x' }).execute()
    t.same(
      await database.asSystem(
        { reason: 'a test', actor: 'nobody' },
        async ({ db }) => (await sql<{ n: number }>`select count(*)::int as n from notes`.execute(db)).rows
      ),
      [{ n: 3 }]
    )
    t.equal(audit.length > 0, true)
    const own = database.forScope(
      new TenantScope(inSchema, { info () {}, warn () {}, error () {} })
    ) as unknown as Kysely<{ notes: { body: string } }>
    await own.transaction().execute(async trx => {
      await trx.insertInto('notes').values({ body: 'in a schema' }).execute()
      t.same(await trx.selectFrom('notes').select('body').execute(), [{ body: 'in a schema' }])
    })
    for (const [name, text] of Object.entries(calls)) {
      if (name === 'set_config' || name === 'temporary' || name === 'table') continue
      await t.rejects(sql.raw(text).execute(handle(t, database, 'acme').db), { code: '42501' }, name)
    }
    t.same(await handle(t, database, 'globex').db.selectFrom('notes').select('body').execute(), [{
      body: 'globex:1'
    }])

    await t.test('a login that joins later gets what it needs', async t => {
      const late = loginUrl(superUrl, 'late')
      const other = createManager({ ...options, database: { ...options.database, url: late } })
      t.teardown(() => other.close())
      await other.init({ url: superUrl, tenantRoles: true })
      const client = await connect(t, late)
      await t.resolves(
        client.query("select set_config('role', $1, true)", [rolesOf(databaseOf(superUrl)).app])
      )
    })
  })
}

/** What statistics and lists of the server reveal. */
const told: Readonly<Record<string, string>> = {
  prepared: 'select * from pg_prepared_statements',
  'prepared, by the function': 'select * from pg_prepared_statement()',
  cursors: 'select * from pg_cursors',
  activity: 'select query from pg_stat_activity',
  'activity, by the function': 'select query from pg_stat_get_activity(null)',
  'the text of one backend': 'select pg_stat_get_backend_activity(1)',
  rows: 'select n_live_tup from pg_stat_user_tables',
  'rows, by the function': "select pg_stat_get_live_tuples('notes'::regclass)",
  scans: 'select idx_scan from pg_stat_user_indexes',
  size: "select pg_relation_size('notes')",
  'size of a fork': "select pg_relation_size('notes', 'fsm')",
  'size with its indexes': "select pg_total_relation_size('notes')"
}

t.test('CON-15 hardening hides lists of statements and counts from all but owner and monitors', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  await admin.query(ddl)
  const logins = ['app', 'owner', 'stranger'].map(use => loginUrl(url, use)) as [string, string, string]
  const { user, password } = loginOf(logins[2])
  await admin.query(`create role "${user}" login password '${password}'`)
  const manager = createManager({ database: { url: logins[0], ownerUrl: logins[1] }, tables })
  t.teardown(() => manager.close())
  await manager.init({ url })
  const [app, owner, stranger] = [await connect(t, logins[0]), await connect(t, logins[1]),
    await connect(t, logins[2])]
  for (const [name, text] of Object.entries(told)) await t.resolves(app.query(text), `${name}: before`)
  t.ok((await manager.doctor()).findings.filter(({ id }) => id === 'D422' || id === 'D423').length === 2)
  t.same((await manager.init({ url, harden: true })).remarks, [])
  for (const [name, text] of Object.entries(told)) {
    for (const client of [app, stranger]) await t.rejects(client.query(text), { code: '42501' }, name)
    await t.resolves(owner.query(text), `${name}: the owner`)
  }
  t.same((await manager.doctor()).findings.filter(({ id }) => id === 'D422' || id === 'D423'), [])
  await admin.query(`grant pg_monitor to "${user}"`)
  for (const [name, text] of Object.entries(told))
    await t.resolves(stranger.query(text), `${name}: a monitor`)
})
