import { sql } from 'kysely'
import pg from 'pg'
import t from 'tap'

import { handle, open, provision } from '../support/tenants.ts'

t.test('RLS-03 RLS-06 tables and views made after protect are readable by no tenant', async t => {
  const on = await provision(t)
  const acme = handle(t, await open(t, on), 'acme')
  await on.admin(`
    create table added (tenant_id text, body text); insert into added values ('globex', 'globex:1');
    create view all_notes as select * from notes;
    create materialized view copied_notes as select * from notes`)
  for (const name of ['added', 'all_notes', 'copied_notes'])
    await t.rejects(sql`select * from ${sql.table(name)}`.execute(acme.db), { code: '42501' }, name)
})

const broken: Readonly<Record<string, string>> = {
  'RLS-04 FORCE taken off': 'alter table notes no force row level security',
  'RLS-04 row-level security taken off': 'alter table notes disable row level security',
  'RLS-05 a second permissive policy': 'create policy extra on notes using (true)',
  'RLS-05 our policy dropped': 'drop policy tenancy_tenant on notes'
}

for (const [name, text] of Object.entries(broken)) {
  t.test(`${name}: the boot refuses and says what to run`, async t => {
    const on = await provision(t)
    await on.admin(text)
    await t.rejects(open(t, on), { code: 'FST_TENANCY_SETUP_INVALID', message: /tenancy protect/ })
  })
}

t.test("INJ-09 no statement changes the identity of a tenant's connection", async t => {
  const on = await provision(t)
  const database = await open(t, on, { pool: { max: 1 } })
  const acme = handle(t, database, 'acme')
  await acme.db.insertInto('notes').values({ body: 'acme:1' }).execute()
  for (
    const text of ['set session authorization postgres', 'set role none', 'reset role',
      'reset session authorization', 'set local role none', 'reset all']
  ) {
    await t.rejects(sql.raw(text).execute(acme.db), { code: 'FST_TENANCY_QUERY_REFUSED' }, text)
  }
  await t.rejects(sql`select set_config('session_authorization', 'postgres', true)`.execute(acme.db), {
    code: '42501'
  })
  t.same(await acme.db.selectFrom('notes').select('body').execute(), [{ body: 'acme:1' }])
})

t.test('POOL-03 a client that abandons a statement leaves no transaction behind', async t => {
  const on = await provision(t)
  const pool = new pg.Pool({ connectionString: on.url, max: 1, query_timeout: 1_000 })
  t.teardown(() => pool.end())
  const database = await open(t, on, { url: pool })
  const acme = handle(t, database, 'acme')
  const globex = handle(t, database, 'globex')
  await t.rejects(
    acme.db.transaction().execute(async trx => {
      await trx.insertInto('notes').values({ body: 'acme:left' }).execute()
      await sql`select pg_sleep(20)`.execute(trx)
    })
  )
  t.same(await globex.db.selectFrom('notes').selectAll().execute(), [])
  t.same(await acme.db.selectFrom('notes').selectAll().execute(), [])
})
