import { signingKey } from '@fastify-tenancy/postgres/context-token'
import { assertInitialised, init } from '@fastify-tenancy/postgres/install'
import { protect } from '@fastify-tenancy/postgres/policies'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import type { ResolvedTables } from '@fastify-tenancy/postgres/tables'
import { readFileSync, writeFileSync } from 'node:fs'
import pg from 'pg'
import t from 'tap'

import { embedSql, target } from '../../packages/postgres/scripts/embed-sql.ts'
import { freshDatabase, serverUrl } from '../support/fresh.ts'
import { serverVersion } from '../support/server-version.ts'
import { connect, databaseOf, engines, loginOf, loginUrl } from '../support/sql.ts'
import { dumpCatalog } from './catalog.ts'

const secret = 'a secret of the tests that is long enough'
const tables: ResolvedTables = {
  tenant: { projects: 'tenant_id' },
  shared: ['countries'],
  global: ['users'],
  schema: 'public'
}
const ddl = `create table projects (id serial primary key, tenant_id text not null,
    name text); create table countries (code text primary key); create table users (id serial primary key)`

t.test('the embedded SQL is what the files say', async t => {
  t.equal(readFileSync(target, 'utf8'), embedSql(), 'run `npm run embed-sql` in packages/database')
})

for (const [engine, open] of engines) {
  t.test(`${engine}: set-up creates what the golden dump shows, and is idempotent`, async t => {
    const client = await open(t)
    await client.query(ddl)
    await init(client, { signingSecrets: [secret] })
    await protect(client, { tables, signed: true })
    const dump = await dumpCatalog(client)
    const golden = new URL('golden/catalog.txt', import.meta.url)
    // TAP_SNAPSHOT=1 accepts a change. The diff then shows the effect of an edit of the SQL in
    // review.
    if (process.env.TAP_SNAPSHOT === '1') writeFileSync(golden, dump)
    t.equal(dump, readFileSync(golden, 'utf8'))
    await init(client, { signingSecrets: [secret] })
    await protect(client, { tables, signed: true })
    t.equal(await dumpCatalog(client), dump)
  })
}

t.test('concurrent set-ups succeed, of one database and of six', async t => {
  const urls = await Promise.all(Array.from({ length: 6 }, () => freshDatabase(t)))
  // One login for all, because every grant changes its server-wide row.
  const shared = loginUrl(urls[0] ?? '', 'shared')
  const clients = await Promise.all([...urls, ...urls].map(url => connect(t, url)))
  await Promise.all(
    clients.map(client => init(client, { logins: { app: loginOf(shared) }, signingSecrets: [secret] }))
  )
  for (const url of urls) {
    const login = new URL(url)
    Object.assign(login, { username: new URL(shared).username, password: new URL(shared).password })
    const client = await connect(t, login.href)
    await t.resolves(client.query("select set_config('role', $1, false)", [rolesOf(databaseOf(url)).app]))
  }
})

t.test("INJ-17 INJ-20 the application's login can become only tenancy_app, and nothing before", async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  await admin.query(
    `${ddl}; insert into projects (tenant_id, name) values ('acme', 'acme:1'), ('globex', 'globex:1')`
  )
  const [app, registry, system, owner] = ['app', 'registry', 'system', 'owner'].map(use =>
    loginUrl(url, use)
  ) as [string, string, string, string]
  await init(admin, {
    logins: { app: loginOf(app), registry: loginOf(registry), system: loginOf(system), owner: loginOf(owner) }
  })
  await protect(admin, { tables, signed: false })
  await admin.query(
    `insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard)
      values ('acme', 'acme-inc', 'Acme', 'active', 'free', 'rls', 'default')`
  )
  const client = await connect(t, app)
  const roles = rolesOf(databaseOf(url))
  const reads = ['select * from projects', 'select * from countries', 'select * from users',
    'select * from tenancy.tenants', 'select * from tenancy.signing_keys',
    "select tenancy.tenant_by_slug('acme-inc')", 'select tenancy.verified_tenant()',
    "insert into projects (name) values ('x')", 'create table mine (x int)', 'create schema mine',
    'create role mine']
  for (const text of reads) await t.rejects(client.query(text), { code: '42501' }, text)
  await client.query("select set_config('tenancy.tenant', 'acme', false)")
  await t.rejects(client.query('select * from projects'), { code: '42501' }, 'a tenant without the role')
  await client.query(`set role "${roles.app}"`)
  t.same((await client.query('select name from projects')).rows, [{ name: 'acme:1' }])

  for (
    const role of [roles.owner, roles.system, roles.global, roles.registry, 'pg_read_all_data', 'postgres',
      loginOf(owner).user, loginOf(system).user, loginOf(registry).user]
  ) {
    await t.rejects(
      client.query(
        "select set_config('role', $1, true), query_to_xml('select * from projects', true, false, '')",
        [role]
      ),
      { code: '42501' },
      role
    )
    await t.rejects(client.query(`set session authorization "${role}"`), { code: '42501' }, role)
  }
  await t.rejects(
    client.query(
      "select set_config('role', 'none', true), query_to_xml('select * from projects', true, false, '')"
    ),
    { code: '42501' }
  )
  await t.rejects(
    client.query(
      `select set_config('role', 'none', true),
        query_to_xml('select * from tenancy.tenants', true, false, '')`
    ),
    { code: '42501' }
  )

  await t.test('the control: a login that may become the system reads every tenant', async t => {
    await admin.query(`grant "${roles.system}" to "${loginOf(app).user}"`)
    const { rows: [row] } = await client.query(
      `select set_config('role', $1, true),
        query_to_xml('select * from projects', true, false, '')::text as seen`,
      [roles.system]
    )
    t.match(row.seen, /globex:1/)
    await init(admin, { logins: { app: loginOf(app), registry: loginOf(registry) } })
    await t.rejects(
      client.query("select set_config('role', $1, true)", [roles.system]),
      { code: '42501' },
      'init takes it away again'
    )
  })

  await t.test('each of the other logins does its own work', async t => {
    t.match(
      (await (await connect(t, registry)).query(
        `select tenancy.tenant_by_slug('acme-inc') as tenant, (select count(*)::int
          from tenancy.tenants) as count`
      )).rows,
      [{ tenant: /"id" : "acme"/, count: 1 }]
    )
    await t.rejects((await connect(t, registry)).query('select * from projects'), { code: '42501' })
    await t.rejects((await connect(t, registry)).query("update tenancy.tenants set slug = 'taken'"), {
      code: '42501'
    })
    const worker = await connect(t, system)
    await t.rejects(worker.query('select * from projects'), { code: '42501' })
    await worker.query(`set role "${roles.system}"`)
    t.equal((await worker.query('select * from projects')).rows.length, 2)
    await t.rejects(worker.query('select * from tenancy.signing_keys'), { code: '42501' })
    const migrator = await connect(t, owner)
    await migrator.query(
      'alter table projects add column done boolean not null default false; update projects set done = true'
    )
    t.equal((await migrator.query('select * from projects where done')).rows.length, 2)
    await protect(migrator, { tables, signed: false })
  })
})

t.test("without a registry login, the application's login looks up exact names only", async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  const app = loginUrl(url, 'app')
  await init(admin, { logins: { app: loginOf(app) } })
  const client = await connect(t, app)
  t.same((await client.query("select tenancy.tenant_by_slug('acme') as tenant")).rows, [{ tenant: null }])
  await t.rejects(client.query('select * from tenancy.tenants'), { code: '42501' })
  await t.rejects(
    client.query(`set role "${rolesOf(databaseOf(url)).app}"; select tenancy.tenant_by_slug('acme')`),
    { code: '42501' },
    'the role of tenants may not'
  )
  await client.query('reset role')
  await init(admin, { logins: { app: loginOf(app), registry: loginOf(loginUrl(url, 'registry')) } })
  await t.rejects(
    client.query("select tenancy.tenant_by_slug('acme')"),
    { code: '42501' },
    'taken away when the registry gets a login'
  )
})

t.test('a login with CREATEROLE sets a database up; a login without is refused', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  const owner = loginUrl(url, 'owner')
  const { user, password } = loginOf(owner)
  await admin.query(`create role "${user}" login password '${password}'`)
  const client = await connect(t, owner)
  await t.rejects(init(client), { code: 'FST_TENANCY_SETUP_INVALID', message: /CREATEROLE/ })
  await admin.query(
    `alter role "${user}" createrole; grant all on database ${
      databaseOf(url)
    } to "${user}"; grant all on schema public to "${user}" with grant option`
  )
  const app = loginUrl(url, 'app')
  const logins = { app: loginOf(app), owner: loginOf(owner) }
  await init(client, { logins, signingSecrets: [secret] })
  await client.query(ddl)
  await protect(client, { tables, signed: true })
  await init(client, { logins, signingSecrets: [secret] })
  await protect(client, { tables, signed: true })
  await assertInitialised(await connect(t, app), { tables, signed: true, key: signingKey(secret) })
})

t.test('INJ-15 names with any character are quoted, and names of roles fit their limit', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  const suffix = loginOf(loginUrl(url, 'x')).user.slice(-9)
  const user = `o'Brien"; drop schema tenancy; --\\${suffix}`
  const password = 'pass\'word\\ "; --'
  // PostgreSQL 15 hashes with 4,096 rounds, and has no such setting.
  const rounds = serverVersion < 16 ? 4_096 : 5_000
  if (serverVersion >= 16) await admin.query(`set scram_iterations = ${rounds}`)
  await init(admin, { logins: { app: { user, password } } })
  t.match((await admin.query('select rolpassword from pg_authid where rolname = $1', [user])).rows, [{
    rolpassword: new RegExp(String.raw`^SCRAM-SHA-256\$${rounds}:`)
  }], 'hashed with as many rounds as the server asks for')
  await admin.query('create table "odd""; drop table users; --" ("ten""ant" text not null)')
  await protect(admin, {
    tables: { tenant: { 'odd"; drop table users; --': 'ten"ant' }, shared: [], global: [], schema: 'public' },
    signed: true
  })
  const { hostname, port } = new URL(serverUrl())
  const client = new pg.Client({
    host: hostname,
    port: Number(port),
    database: databaseOf(url),
    user,
    password
  })
  await client.connect()
  await client.end()
  await t.rejects(init(admin, { logins: { app: { user: 'a\0b' } } }))
})

t.test('protect refuses a table that it cannot protect, and changes nothing', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  await init(admin)
  const refusals: [string, string, RegExp][] = [
    ['select 1', 'missing', /there is no table 'missing'/],
    ['create view notes as select 1 as tenant_id', 'notes', /reads as its owner/],
    ['create materialized view notes as select 1 as tenant_id', 'notes', /is not a table/],
    ['create table notes (x int)', 'notes', /has no column 'tenant_id'/],
    ['create table notes (tenant_id varchar(10) not null)', 'notes',
      /must be of type text, uuid, int or bigint, and is varchar/],
    ['create table notes (tenant_id text)', 'notes', /may be null/],
    ['create table notes (tenant_id text not null); create policy theirs on notes using (true)', 'notes',
      /has other policies \(theirs\)/],
    [
      `create table notes (tenant_id text not null) partition by list (tenant_id); create table part
        partition of notes default`,
      'part',
      /is a partition/
    ]
  ]
  for (const [setup, table, message] of refusals) {
    await admin.query(`create table fine (tenant_id text not null); ${setup}`)
    const before = await dumpCatalog(admin)
    await t.rejects(
      protect(admin, {
        tables: {
          tenant: { fine: 'tenant_id', [table]: 'tenant_id' },
          shared: [],
          global: [],
          schema: 'public'
        },
        signed: false
      }),
      { code: 'FST_TENANCY_SETUP_INVALID', message }
    )
    t.equal(await dumpCatalog(admin), before, 'all or nothing')
    await admin.query(
      `drop table fine; drop view if exists none; do $$ begin execute
        (select format('drop %s notes cascade', case relkind when 'v' then 'view'
        when 'm' then 'materialized view' else 'table' end) from pg_class
        where relname = 'notes'); exception when null_value_not_allowed then null; end $$`
    )
  }
})

t.test('partitions and earlier grants do not bypass a policy', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  await init(admin)
  const { app } = rolesOf(databaseOf(url))
  await admin.query(
    `create table notes (tenant_id text not null,
      v text) partition by list (tenant_id); create table notes_rest partition of notes default;
    insert into notes values ('acme', 'acme:1'), ('globex', 'globex:1'); grant all on notes,
      notes_rest to public, "${app}"; create table old (v text); grant all on old to public, "${app}"`
  )
  await protect(admin, {
    tables: { tenant: { notes: 'tenant_id' }, shared: [], global: [], schema: 'public' },
    signed: false
  })
  await admin.query(`set role "${app}"; select set_config('tenancy.tenant', 'acme', false)`)
  t.same((await admin.query('select v from notes')).rows, [{ v: 'acme:1' }])
  for (
    const text of ['select * from notes_rest', 'select * from old', 'truncate notes',
      "insert into notes_rest values ('acme', 'x')"]
  ) await t.rejects(admin.query(text), { code: '42501' }, text)
})

t.test('a database that is not ready is refused, and the error names the fix', async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  const refuses = (
    message: RegExp,
    options: Partial<Parameters<typeof assertInitialised>[1]> = {},
    client = admin
  ): Promise<unknown> =>
    t.rejects(assertInitialised(client, { tables, signed: false, ...options }), {
      code: 'FST_TENANCY_SETUP_INVALID',
      message
    })
  await refuses(/not initialised: run `tenancy init`/)
  await admin.query('create schema tenancy')
  await refuses(/not initialised/)
  await admin.query('drop schema tenancy')
  await init(admin, { signingSecrets: [secret] })
  await assertInitialised(admin, { tables, signed: false }) // no table exists yet
  await admin.query(ddl)
  await refuses(/'projects' is not protected: run `tenancy protect projects`/)
  await protect(admin, { tables, signed: false })
  await assertInitialised(admin, { tables, signed: false })
  await refuses(/asks for no signature/, { signed: true })
  await protect(admin, { tables, signed: true })
  await refuses(/asks for a signature/)
  await assertInitialised(admin, { tables, signed: true, key: signingKey(secret) })
  await refuses(/does not accept what options\.rls\.secret signs/, {
    signed: true,
    key: signingKey('x'.repeat(32))
  })
  await admin.query('create policy mine on projects using (true)')
  await refuses(/is not protected/, { signed: true })
  await admin.query('drop policy mine on projects; alter table projects no force row level security')
  await refuses(/is not protected/, { signed: true })
  await admin.query(
    "alter table projects force row level security; comment on schema tenancy is 'fastify-tenancy 1'"
  )
  await refuses(/older version \(1 of \d+\): run `tenancy init`/, { signed: true })
  await admin.query("comment on schema tenancy is 'fastify-tenancy 99'") // a newer process came first
  await assertInitialised(admin, { tables, signed: true })
  const stranger = loginUrl(url, 'stranger')
  await admin.query(`create role "${loginOf(stranger).user}" login password '${loginOf(stranger).password}'`)
  await refuses(/may not become the role/, { signed: true }, await connect(t, stranger))
})
