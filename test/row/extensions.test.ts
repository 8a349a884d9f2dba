// Strategy row with extensions in a schema of their own: their types, operators and functions work
// as under the other strategies, and the schema gives no table to a tenant.
import { init } from '@fastify-tenancy/postgres/install'
import { protect } from '@fastify-tenancy/postgres/policies'
import { sql, type Kysely } from 'kysely'
import t, { type Test } from 'tap'

import { connect, databaseOf } from '../support/sql.ts'
import { dbOf, openRow, unprotected } from './support.ts'

interface Tables {
  notes: { tenant_id: string; id: number; body: string; mail: string; path: string }
  plans: { name: string }
}

const functions = ['similarity', 'nlevel']

async function installed (t: Test): Promise<Awaited<ReturnType<typeof unprotected>>> {
  const on = await unprotected(t)
  await on.admin.query(`
    create schema extensions; grant usage on schema extensions to public;
    create extension citext schema extensions; create extension pg_trgm schema extensions;
    create extension ltree schema extensions;
    create table extensions.plans (name text); grant select on extensions.plans to public;
    alter table notes add mail extensions.citext, add path extensions.ltree;
    update notes set mail = upper(body) || '@Example.com', path = extensions.text2ltree('top.' || tenant_id);
    create unique index on notes (tenant_id, mail)`)
  return on
}

async function works (t: Test, db: Kysely<Tables>): Promise<void> {
  t.same(
    await db.selectFrom('notes').select('id').where('mail', '=', 'acme:2@example.COM').execute(),
    [{ id: 2 }],
    'the operator of citext, and not that of text'
  )
  const { rows } = {
    rows: await db.selectFrom('notes').select(eb => [
      eb.fn<number>('similarity', ['body', eb.val('acme:1')]).as('close'),
      eb.fn<number>('nlevel', ['path']).as('level')
    ]).orderBy('id').execute()
  }
  t.match(rows, [{ close: 1, level: 2 }, { level: 2 }, { level: 2 }])
  t.equal(rows.length, 3, "the tenant's own rows only")
  t.same(
    await db.insertInto('notes').values({ id: 9, body: 'acme:9', mail: 'ACME:1@EXAMPLE.COM' } as never)
      .onConflict(oc => oc.columns(['tenant_id', 'mail']).doUpdateSet({ body: 'acme:changed' }))
      .returning('id').execute(),
    [{ id: 1 }],
    'a conflict by the unique index of citext'
  )
  t.same(
    await db.selectFrom('notes').select(eb => eb.cast<string>('body', sql`text` as never).as('x'))
      .execute().then(() => 'sent', (error: { code: string }) => error.code),
    'FST_TENANCY_QUERY_REFUSED'
  )
  for (const name of ['plans', 'extensions.plans'])
    await t.rejects(db.selectFrom(name as 'plans').selectAll().execute(), {
      code: 'FST_TENANCY_QUERY_REFUSED'
    }, `SCH-01 ${name} in the schema of extensions`)
}

t.test("DAT-03 row: extensions in a schema of their own, with the login's own privileges", async t => {
  const { url, admin } = await installed(t)
  const database = await openRow(t, url, { row: { functions } })
  await works(t, dbOf(t, database, 'acme') as never)
  t.same((await admin.query("select body from notes where tenant_id = 'globex' order by id")).rows, [
    { body: 'globex:1' },
    { body: 'globex:2' },
    { body: 'globex:3' }
  ])
  const plain = await connect(t, url)
  await t.rejects(
    plain.query("select similarity('a', 'b')"),
    { code: '42883' },
    'control: the path of the login does not find it'
  )
  await t.rejects(
    (dbOf(t, await openRow(t, url), 'acme') as unknown as Kysely<Tables>).selectFrom('notes').select(eb =>
      eb.fn('similarity', ['body', 'body']).as('x')
    ).execute(),
    { code: 'FST_TENANCY_QUERY_REFUSED' },
    'control: a function that row.functions does not name'
  )
})

t.test("DAT-03 row: extensions in a schema of their own, with the role of tenants' statements", async t => {
  const { url, admin } = await installed(t)
  const login = { user: `${databaseOf(url)}_app`, password: 'secret' }
  await init(admin, { logins: { app: login } })
  await protect(admin, {
    tables: {
      tenant: { notes: 'tenant_id', tags: 'tenant_id' },
      shared: ['countries'],
      global: [],
      schema: 'public'
    },
    signed: false,
    policies: false
  })
  t.teardown(() => admin.query(`drop owned by "${login.user}"; drop role "${login.user}"`).catch(() => {}))
  const appUrl = Object.assign(new URL(url), { username: login.user, password: login.password }).href
  await works(t, dbOf(t, await openRow(t, appUrl, { row: { functions } }), 'acme') as never)
})
