// Views over tenant tables: which of them tenants may read, and that no row of another tenant
// passes through one.
import { openDatabase, type DatabaseRuntime } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import { sql, type Kysely } from 'kysely'
import t, { type Test } from 'tap'

import { bootRefusal } from '../../packages/postgres/src/doctor/boot-checks.ts'
import { protect } from '../../packages/postgres/src/policies/protect.ts'
import { connect } from '../support/sql.ts'
import { handle, open, provision, type Provisioned } from '../support/tenants.ts'

const tables = {
  tenant: { notes: 'tenant_id', own_notes: 'tenant_id' },
  shared: ['countries', 'country_codes'],
  global: []
}
const views = 'create view own_notes with (security_invoker) as select * from notes; ' +
  'create view country_codes with (security_invoker) as select code from countries'

async function protectViews (t: Test, on: Provisioned): Promise<void> {
  await protect(await connect(t, on.superUrl), { tables: { ...tables, schema: 'public' }, signed: true })
}

async function opened (t: Test, on: Provisioned): Promise<DatabaseRuntime> {
  const database = openDatabase(resolveDatabaseOptions({
    database: { url: on.url },
    tables,
    rls: { secret: on.secret ?? '' }
  }))
  t.teardown(() => database.close())
  await database.boot()
  return database
}

const rows = "insert into notes (tenant_id, body) values ('acme', 'acme:1'), ('globex', 'globex:1')"

t.test('DAT-13 a listed view with security_invoker shows a tenant its own rows', async t => {
  const on = await provision(t)
  await on.admin(`${views}; ${rows}`)
  await protectViews(t, on)
  await protectViews(t, on)
  const database = await opened(t, on)
  const db = handle(t, database, 'acme').db as unknown as Kysely<Record<string, Record<string, string>>>
  t.same(await db.selectFrom('own_notes').select(['tenant_id', 'body']).execute(), [{
    tenant_id: 'acme',
    body: 'acme:1'
  }])
  t.equal((await db.selectFrom('country_codes').selectAll().execute()).length, 2)
  await db.insertInto('own_notes').values({ body: 'acme:2' }).execute()
  t.same(await on.admin("select tenant_id from notes where body = 'acme:2'"), [{ tenant_id: 'acme' }])
  await t.rejects(db.insertInto('own_notes').values({ body: 'x', tenant_id: 'globex' }).execute(), {
    code: '42501'
  })
  await t.rejects(db.deleteFrom('country_codes').execute(), { code: '42501' }, 'a shared view is read alone')
  const { shared } = rolesOf(new URL(on.superUrl).pathname.slice(1))
  t.same(
    await on.admin(
      "select has_table_privilege($1, 'country_codes', 'select') as reads, has_table_privilege($1, " +
        "'own_notes', 'select') as other",
      [shared]
    ),
    [{ reads: true, other: false }],
    'roles of tenants with a schema read shared views'
  )
})

t.test('DAT-13 a listed view that reads as its owner is refused at protect and at boot', async t => {
  const on = await provision(t)
  await on.admin(`${views}; ${rows}`)
  await protectViews(t, on)
  await opened(t, on)
  // What a migration does that makes the view anew without the option.
  await on.admin('create or replace view own_notes as select * from notes')
  const refusal = {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /view public\.own_notes reads as its owner.*set \(security_invoker = true\)/
  }
  await t.rejects(opened(t, on), refusal)
  await t.rejects(protectViews(t, on), refusal)
})

t.test('DAT-13 the boot finds views that show all tenants, also views in no list', async t => {
  const on = await provision(t)
  await on.admin('create view leak as select * from notes; grant select on leak to public')
  const { findings = [] } = await (await open(t, on, { doctor: 'warn' })).boot()
  t.match(findings.filter(({ id }) => id === 'D201'), [{ object: 'view public.leak', level: 'error' }])
  t.match(bootRefusal(findings), /D201 view public\.leak/, 'which refuses the boot where that is asked for')
})

/**
 * Relations in no list that show the rows of all tenants, and the column of each that holds the
 * tenant.
 */
const leaks: Readonly<Record<string, string>> = {
  'the table under another name': 'create view leak as select tenant_id as whose, body from notes',
  'a name with braces':
    'create view leak as select upper(body) as b, tenant_id as "who } se {" from notes order by n',
  'a view over a view': 'create view below as select body, tenant_id as t from notes; ' +
    'create view leak as select t as whose from below',
  'a sub-query': 'create view leak as select x.t as whose, (select count(*) from notes) as n from (select ' +
    'tenant_id as t from notes) x',
  'both sides of a join':
    'create view leak as select a.body, b.tenant_id as whose from notes a join notes b on ' +
    "a.tenant_id = 'acme' where a.tenant_id <> b.tenant_id",
  'a union, by name': 'create view leak as select tenant_id from notes union all select tenant_id from notes',
  'a view of another schema':
    'create schema reports; create view reports.leak as select tenant_id as whose from notes; ' +
    'grant usage on schema reports to public; grant select on reports.leak to public; ' +
    'create view leak as select 1 as one',
  'a materialized view': 'create materialized view leak as select tenant_id as whose, body from notes',
  'a table made from it': 'create table leak as select tenant_id, body from notes',
  'a partition, read by its own name':
    'create table parts (tenant_id text not null, body text) partition by list (body); ' +
    'create table leak partition of parts default; ' +
    'insert into parts select tenant_id, body from notes'
}

t.test('TRP-01 DAT-13 no row of another tenant passes through a relation in no list', async t => {
  const on = await provision(t)
  await on.admin(rows)
  const watching = handle(t, await open(t, on, { doctor: false }), 'acme').db
  const blind = handle(t, await open(t, on, { doctor: false, tripwire: false }), 'acme').db
  for (const [name, ddl] of Object.entries(leaks)) {
    const relation = sql.raw(ddl.includes('reports.leak') ? 'reports.leak' : 'public.leak')
    const read = (db: typeof blind): Promise<{ rows: object[] }> =>
      sql<object>`select * from ${relation}`.execute(db)
    await on.admin(`${ddl}; grant select on leak to public`)
    t.match(
      JSON.stringify((await read(blind)).rows),
      /globex/,
      `control: ${name} shows it without the tripwire`
    )
    await t.rejects(read(watching), { code: 'FST_TENANCY_ISOLATION_BREACH' }, name)
    await on.admin(
      "do $$ begin execute (select format('drop %s public.leak cascade', case relkind when 'v' " +
        "then 'view' when 'm' then 'materialized view' else 'table' end) from pg_class where oid = " +
        "'public.leak'::regclass); end $$; drop view if exists below; " +
        'drop schema if exists reports cascade; drop table if exists parts'
    )
  }
})

t.test('a view with columns that hold no tenant passes', async t => {
  const on = await provision(t)
  await on.admin(
    `${rows}; alter table countries add tenant_id text default 'globex';
    create view of_country as select tenant_id from countries; grant select on of_country to public;
    create view counts as
      select body as tenant, count(*) as tenants, upper(max(tenant_id)) as greatest
      from notes group by body;
    grant select on counts to public`
  )
  const { db } = handle(t, await open(t, on, { doctor: false }), 'acme')
  t.equal((await sql`select * from counts`.execute(db)).rows.length, 2)
  t.equal((await sql`select * from of_country`.execute(db)).rows.length, 2, 'a column of a shared table')
})
