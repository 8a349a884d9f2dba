// Two layers, each tested with the other one taken away: the policies, and rls.filter on top of
// them.
import { toTenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseRuntime } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { sql, type Kysely } from 'kysely'
import t, { type Test } from 'tap'

import { protect } from '../../packages/postgres/src/policies/protect.ts'
import { connect } from '../support/sql.ts'
import { provision, type Provisioned, type Rows } from '../support/tenants.ts'

async function open (t: Test, on: Provisioned, filter: boolean): Promise<DatabaseRuntime> {
  const database = openDatabase(resolveDatabaseOptions({
    // The tripwire is a third layer: here it would hide what the two do.
    database: { url: on.url, tripwire: false },
    tables: on.tables,
    rls: { filter, ...(on.secret !== undefined && { secret: on.secret }) }
  }))
  t.teardown(() => database.close())
  await database.boot()
  return database
}

function dbOf (t: Test, database: DatabaseRuntime, isolation: 'rls' | 'row' = 'rls'): Kysely<Rows> {
  const scope = new TenantScope(toTenant({ id: 'acme', slug: 'acme', isolation }), {
    info () {},
    warn () {},
    error () {}
  })
  t.teardown(() => scope.abort())
  return database.forScope(scope) as unknown as Kysely<Rows>
}

async function provisioned (t: Test): Promise<Provisioned> {
  const on = await provision(t)
  await on.admin(
    `insert into notes (tenant_id, body) select tenant, tenant || ':' || i from ` +
      `unnest(array['acme', 'globex']) tenant, generate_series(1, 3) i`
  )
  return on
}

const takePoliciesAway = 'alter table notes disable row level security'

t.test('the filter taken away: the policies hold', async t => {
  const db = dbOf(t, await open(t, await provisioned(t), false))
  t.equal((await db.selectFrom('notes').selectAll().execute()).length, 3)
  t.equal((await sql`select * from notes`.execute(db)).rows.length, 3, 'even for raw SQL')
})

t.test('the policies taken away: the filter holds', async t => {
  const on = await provisioned(t)
  const database = await open(t, on, true)
  const db = dbOf(t, database)
  await on.admin(takePoliciesAway)
  t.same(await db.selectFrom('notes').select('tenant_id').distinct().execute(), [{ tenant_id: 'acme' }])
  t.equal((await db.updateTable('notes').set({ n: 9 }).executeTakeFirst()).numUpdatedRows, 3n)
  t.equal((await db.deleteFrom('notes').executeTakeFirst()).numDeletedRows, 3n)
  await t.rejects(sql`select * from notes`.execute(db), { code: 'FST_TENANCY_QUERY_REFUSED' })
  t.same(await on.admin('select distinct tenant_id, n from notes'), [{ tenant_id: 'globex', n: 0 }])
})

t.test("control: both taken away: the other tenant's rows are there", async t => {
  const on = await provisioned(t)
  const db = dbOf(t, await open(t, on, false))
  await on.admin(takePoliciesAway)
  t.equal((await db.selectFrom('notes').selectAll().execute()).length, 6)
})

t.test('a tenant whose own strategy is row is rewritten in an application whose strategy is rls', async t => {
  const on = await provisioned(t)
  const database = await open(t, on, false)
  const db = dbOf(t, database, 'row')
  await t.rejects(sql`select * from notes`.execute(db), { code: 'FST_TENANCY_QUERY_REFUSED' })
  await on.admin(takePoliciesAway)
  t.equal((await db.selectFrom('notes').selectAll().execute()).length, 3)
})

t.test("strategy row on an initialised database without policies runs as the application's role", async t => {
  const on = await provisioned(t)
  await on.admin(
    'drop policy tenancy_tenant on notes; drop policy tenancy_system on notes; ' +
      'alter table notes no force row level security, disable row level security; ' +
      'alter table notes alter column tenant_id drop default'
  )
  await on.admin(
    'create table tags (tenant_id text not null, id int, note_id int); ' +
      "insert into tags values ('acme', 1, 1), ('globex', 2, 1)"
  )
  const tables =
    resolveDatabaseOptions({ database: on.url, tables: { tenant: ['notes', 'tags'], shared: ['countries'] } })
      .tables
  const client = await connect(t, on.superUrl)
  await protect(client, { tables, signed: false, policies: false })
  t.same(await on.admin('select polname from pg_policy'), [])
  const database = openDatabase(
    resolveDatabaseOptions({
      database: { url: on.url },
      isolation: 'row',
      tables: { tenant: ['notes', 'tags'], shared: ['countries'] }
    })
  )
  t.teardown(() => database.close())
  await database.boot()
  const db = dbOf(t, database).withTables<{ tags: { id: number } }>()
  t.equal((await db.selectFrom('notes').selectAll().execute()).length, 3)
  t.same(await db.selectFrom('tags').select('id').execute(), [{ id: 1 }])
  t.equal(
    (await db.insertInto('notes').values({ body: 'acme:4' }).returning('tenant_id').executeTakeFirst())
      ?.tenant_id,
    'acme'
  )
})
