// `migrate --check`: predicts the result of a run without one.
import type { Manager } from '@fastify-tenancy/manager'
import { sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import { rmSync } from 'node:fs'
import t from 'tap'

import { transactionWords } from '../../packages/manager/src/migrations/transaction-words.ts'
import { failure, migrations, type Migrations } from '../support/migrations.ts'
import { connect } from '../support/sql.ts'
import { managerFixture, unique } from './manager-fixture.ts'

const notes = "await db.schema.createTable('notes').addColumn('id', 'serial', " +
  "c => c.primaryKey()).addColumn('body', 'text').execute()"

/**
 * Everything that a migration could change: the catalog, the roles, and the suite's own records.
 */
const everything = `
  select md5(string_agg(line, e'\\n' order by line)) as digest, count(*)::int as lines from (
    select 'class ' || c::text as line from (select oid, relname, relnamespace, relowner, relkind, relacl,
    relrowsecurity, relforcerowsecurity from pg_class) c
    union all select 'attribute ' || a::text from (select attrelid, attname, atttypid, attnotnull,
      attisdropped from pg_attribute) a
    union all select 'constraint ' || c::text from pg_constraint c union all select 'policy ' || p::text
      from pg_policy p
    union all select 'namespace ' || n::text from pg_namespace n union all select 'proc ' || p.oid::text
      from pg_proc p
    union all select 'trigger ' || g::text from pg_trigger g union all select 'type ' || y.oid::text
      from pg_type y
    union all select 'default ' || d::text from pg_default_acl d union all select 'depend ' || d::text
      from pg_shdepend d where dbid = (select oid from pg_database where datname = current_database())
    union all select 'ledger ' || l::text from tenancy.migration_ledger l union all select 'audit ' || a::text
      from tenancy.audit a
    union all select 'tenant ' || t::text from tenancy.tenants t) lines`

const digest = async (admin: Migrations['admin']): Promise<unknown> => (await admin(everything))[0]

t.test("MIG-13 a check tries the tenants' set on the tenant furthest behind and leaves nothing", async t => {
  const { manager, write, schemas, admin, another } = await migrations(t, {
    tables: { shared: ['countries'] }
  })
  await schemas(3)
  write('tenant', '001_notes', notes)
  await manager.migrate({ only: [{ id: 't0001' }, { id: 't0003' }] })
  write('shared', '001_countries', 'await sql`create table countries (code text primary key)`.execute(db)')
  write(
    'tenant',
    '002_country',
    'await sql`alter table notes add country text references public.countries`.execute(db)'
  )
  const before = await digest(admin)
  t.match(await manager.migrate({ check: true }), {
    shared: [{ applied: ['001_countries'], unprotected: { length: 0 } }],
    tenants: { migrated: 3 },
    failures: { length: 0 },
    unrehearsed: { length: 0 }
  })
  t.same(await digest(admin), before, 'catalog, ledger and registry are what they were')

  write('tenant', '003_wrong', 'await sql`alter table notes add country text`.execute(db)')
  t.match(await failure(manager.migrate({ check: true })), {
    code: 'FST_TENANCY_MIGRATION_FAILED',
    message:
      /^migration '003_wrong' of tenant st0002 failed: .*already exists: all changes were rolled back$/,
    report: { failures: [{ shard: 'default', tenant: 't0002', migration: '003_wrong' }] }
  })
  write('tenant', '003_wrong', 'await sql`create table public.leaks (tenant_id text, what text)`.execute(db)')
  t.match(await failure(manager.migrate({ check: true })), {
    message: /public\.leaks, outside the tenant's schema/
  }, "a table of all tenants in the tenants' set")
  const leaks = write(
    'shared',
    '002_leaks',
    'await sql`create table leaks (tenant_id text, what text)`.execute(db)'
  )
  write('tenant', '003_wrong', 'await sql`select 1`.execute(db)')
  t.match(await failure(manager.migrate({ check: true })), {
    message: /'leaks' without a policy/,
    report: { shared: [{ applied: ['001_countries', '002_leaks'], unprotected: ['leaks'] }] }
  }, "the same table in the shared tables' set")
  rmSync(leaks)
  t.match(await failure(manager.migrate({ check: true, set: 'tenant' })), {
    message: /migration '002_country' of tenant st0002 failed: relation "public.countries" does not exist/
  })
  t.same(await digest(admin), before, 'nor do findings leave anything')

  write('tenant', '003_wrong', 'await sql`select 1`.execute(db)')
  write(
    'shared',
    '001_countries',
    'await sql`create table countries (code text primary key)`.execute(db); await sql`select 1`.execute(db)'
  )
  await manager.migrate()
  t.not(JSON.stringify(await digest(admin)), JSON.stringify(before), 'control: a run shows')
  write('tenant', '002_another', notes)
  await t.rejects(another().migrate({ check: true }), {
    code: 'FST_TENANCY_MIGRATION_INVALID',
    message: /'002_another' has not run, but sorts before '002_country'/
  })
})

t.test("MIG-08 a check refuses a changed migration that only a tenant's own database has run", async t => {
  const on = await managerFixture(t, { more: { isolation: 'database' } })
  const managed = (up: Migration['up']): Manager =>
    on.another({
      isolation: 'database',
      migrations: { tenant: { getMigrations: async () => ({ '001_more': { up } }) } }
    })
  const manager = managed(async db => {
    await sql`create table more (id int)`.execute(db)
  })
  const id = unique(on, 'a')
  await manager.create({ id, slug: 'acme' })
  const other = managed(async db => {
    await sql`create table more (id bigint)`.execute(db)
  })
  await t.rejects(other.migrate({ check: true }), {
    code: 'FST_TENANCY_MIGRATION_INVALID',
    message: /'001_more' was changed after it had run/
  })
  // The default shard's copy of the ledger is behind. The tenant's own database decides.
  await on.admin('delete from tenancy.migration_ledger')
  await t.rejects(other.migrate({ check: true }), {
    code: 'FST_TENANCY_MIGRATION_INVALID',
    message: /'001_more' was changed after it had run.*tenant 'acme'/
  })
  t.match(await manager.migrate({ check: true }), { failures: { length: 0 } })

  const own = await connect(t, on.superUrl.replace(/\/[^/]*$/, `/tenant_${id}`))
  const tables = async (): Promise<unknown> =>
    (await own.query(
      "select relname from pg_class where relnamespace = 'public'::regnamespace union all select name " +
        'from tenancy.migration_ledger order by 1'
    )).rows
  const before = await tables()
  await own.query('delete from tenancy.migration_ledger')
  await t.rejects(manager.migrate({ check: true }), {
    message: new RegExp(`migration '001_more' of tenant acme failed: relation "more" already exists`)
  })
  await own.query('drop table more')
  t.match(await manager.migrate({ check: true }), { failures: { length: 0 } })
  await own.query(
    'insert into tenancy.migration_ledger (tenant_id, name, checksum, applied_at) ' +
      "values ($1, '001_more', 'x', now())",
    [id]
  )
  await own.query('create table more (id int)')
  t.same(await tables(), before)
  await own.end()
})

t.test("without tenants, a check tries the tenants' set in a temporary schema", async t => {
  const { manager, write, admin } = await migrations(t, { tables: { shared: ['countries'] } })
  write('shared', '001_countries', 'await sql`create table countries (code text primary key)`.execute(db)')
  write('tenant', '001_notes', notes)
  write(
    'tenant',
    '002_country',
    'await sql`alter table notes add country text references public.countries`.execute(db)'
  )
  const before = await digest(admin)
  t.match(await manager.migrate({ check: true }), { tenants: { migrated: 0 }, failures: { length: 0 } })
  write('tenant', '003_tags', 'await sql`alter table tags add id int`.execute(db)')
  t.match(await failure(manager.migrate({ check: true })), {
    message: new RegExp(
      '^migration .003_tags. of a new tenant failed: relation "tags" does not exist: ' +
        'all changes were rolled back$'
    )
  })
  write(
    'tenant',
    '003_tags',
    'await sql`create index concurrently on notes (body)`.execute(db)',
    undefined,
    'export const transaction = false'
  )
  write('tenant', '004_after', 'await sql`create table after ()`.execute(db)')
  t.match(await manager.migrate({ check: true }), {
    failures: { length: 0 },
    unrehearsed: ['003_tags', '004_after']
  })
  t.same(await digest(admin), before)
})

t.test('MIG-13 a migration with commit or rollback is refused before that statement is sent', async t => {
  const { manager, write, schemas, admin } = await migrations(t)
  await schemas(1)
  write(
    'shared',
    '001_stays',
    'await sql`create table stays (id int)`.execute(db); await sql`select 1`.execute(db)'
  )
  const before = await digest(admin)
  const refused = async (statements: string, word: string): Promise<void> => {
    write(
      'shared',
      '002_ends',
      `await sql.raw(${
        JSON.stringify(statements)
      }).execute(db); await sql\`create table stray (id int)\`.execute(db); await sql\`select 1\`.execute(db)`
    )
    t.match(await failure(manager.migrate({ check: true })), {
      message: new RegExp(
        `'002_ends' of the shared tables .* remove '${word}' from it: all changes were rolled back$`
      )
    }, statements)
  }
  await refused('commit', 'commit')
  await refused('/* back */ ROLLBACK', 'rollback')
  await refused('create table a (id int); end; create table b (id int)', 'end')
  t.same(await digest(admin), before)
  // With this setting the backslash escapes the quote, so `commit` is no part of the string.
  write(
    'shared',
    '002_ends',
    `for (const text of ${
      JSON.stringify(['set standard_conforming_strings = off', "select 'a\\''; commit; select ''"])
    }) await sql.raw(text).execute(db)`
  )
  t.match(await failure(manager.migrate({ check: true })), {
    message:
      /ended its transaction, so its earlier statements stay committed: remove commit and rollback from it$/
  }, 'what could not be taken back is said')
  t.not(JSON.stringify(await digest(admin)), JSON.stringify(before), 'control: it shows')
})

t.test("MIG-06 a check's locks end in bounded time when its process hangs or dies", async t => {
  const { another, url, ownerUrl } = await migrations(t)
  const heard: unknown[] = []
  const up: Migration['up'] = async db => {
    const { rows: [row] } = await sql<{ now: string }>`select concat_ws(' ', ${
      sql.raw(
        ['statement_timeout', 'idle_in_transaction_session_timeout', 'client_connection_check_interval'].map(
          name => `current_setting('${name}')`
        ).join()
      )
    }) as now`.execute(db)
    heard.push(row?.now)
  }
  const given = {
    isolation: 'rls',
    migrations: { shared: { getMigrations: async () => ({ '001': { up } }) } }
  } as const
  await another(given).migrate({ check: true })
  const own = new URL(ownerUrl)
  own.searchParams.set('options', '-c statement_timeout=15min -c idle_in_transaction_session_timeout=20s')
  await another({ ...given, database: { url, ownerUrl: own.href } }).migrate({ check: true })
  t.same(heard, ['1min 10s 1s', '15min 20s 1s'], "the login's own is what its owner meant")
})

t.test('a statement that ends a transaction is found wherever it is one, and nowhere else', async t => {
  for (
    const [text, words] of [
      ['Commit and chain', 'commit and chain'],
      ['-- why\n /* so /* nested */ */ begin', 'begin'],
      ['start  transaction read only', 'start transaction read'],
      ['abort', 'abort'],
      ["select 'a';;rollback work", 'rollback work'],
      ["prepare transaction 'x'", "prepare transaction 'x'"],
      ["select e'\\''; commit", 'commit'],
      ['select a$b$ from c; commit; select d$b$', 'commit'],
      [
        'create function f () returns int begin atomic select case when true then 1 end; select 2; end; ' +
        'commit',
        'commit'
      ]
    ] as const
  ) t.equal(transactionWords(text), words, text)
  for (
    const text of [
      'rollback to savepoint a',
      'rollback to a',
      'rollback work to savepoint a',
      'savepoint a; release a',
      'prepare commit as select 1',
      "select ';commit;'",
      "select e'\\';commit'",
      'select 1 as "a; commit"',
      'do $$ begin commit; end $$',
      'select $x$ ; $$ ; commit; $x$',
      '/* ; commit; /* */ ; end; */ select 1',
      'select 1 -- ; commit',
      'create table commit_log (id int); select end_date from begin_list',
      'create function f () returns int begin atomic select case when true then 1 end; select 2; end',
      'create procedure "p" () language sql begin atomic update a set b = 1; end; select 1'
    ]
  ) t.equal(transactionWords(text), undefined, text)
})
