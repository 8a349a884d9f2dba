// A tenant's migration stays within the tenant's schema, although the schemas of extensions are on
// its search_path.
import { sql, type Kysely } from 'kysely'
import type { Migration, MigrationProvider } from 'kysely/migration'
import t from 'tap'

import { migrations } from '../support/migrations.ts'

const provider = (
  files: Record<string, string>,
  more: Partial<Migration & { transaction: boolean }> = {}
): MigrationProvider => ({
  getMigrations: async () =>
    Object.fromEntries(
      Object.entries(files).map(([name, text]) => [name, {
        up: async (db: Kysely<unknown>) => {
          await sql.raw(text).execute(db)
        },
        ...more
      }])
    )
})

t.test(
  "DAT-03 SCH-01 a tenant's migration that leaves its schema is rolled back and named",
  { buffered: true },
  async t => {
    const world = await migrations(t)
    const { admin, schemas, another, owner } = world
    await schemas(2)
    await admin(
      'create extension citext; create table notes (id int, email citext); ' +
        "create table countries (code text primary key); insert into countries values ('NL'); " +
        'create sequence global_seq'
    )
    await admin(
      `alter table notes owner to "${owner}"; alter table countries owner to "${owner}"; ` +
        `alter sequence global_seq owner to "${owner}"; grant create on schema public to "${owner}"`
    )
    const first = {
      '001': "create table own (id int primary key, email citext default 'A', country text " +
        'references public.countries); create table gone (n int references own)',
      '002': "alter table own add n bigint default nextval('public.global_seq'); " +
        'insert into own (id) values (1); alter table own alter n type int; drop table gone; ' +
        'create table step (n text); drop table step; create index on own (n)'
    }
    t.match((await another({ migrations: { tenant: provider(first) } }).migrate()).tenants, {
      migrated: 2,
      failed: 0
    }, "control: what is the tenant's own, and a key to a shared table")
    const wrongs: readonly [string, RegExp][] = [
      ['create table public.mine (n int)', /public\.mine/],
      ['alter table notes add more int', /public\.notes/],
      ['drop table notes', /dropped: public\.notes/],
      ['drop table public.countries cascade', /dropped: .*public\.countries/],
      ["insert into countries values ('DE')", /public\.countries/],
      ['update public.notes set id = 1', /public\.notes/],
      ['delete from notes', /public\.notes/],
      ['truncate notes', /public\.notes/],
      ['alter table public.countries add name text', /public\.countries/],
      ['alter table countries disable trigger all', /public\.countries|permission denied/],
      ['create view public.v as select 1', /public\.v/],
      ['create index on notes (id)', /public\.notes/],
      ['alter table tenant_t0002.own add other int', /tenant_t0002\.own/],
      ['drop table tenant_t0002.own', /dropped: tenant_t0002\.own/],
      [
        'create trigger t before insert on public.countries for each row ' +
        'execute function suppress_redundant_updates_trigger()',
        /public\.countries/
      ],
      ['do $$ begin begin insert into notes values (1); exception when others then null; end; end $$',
        /public\.notes/],
      ['alter table own rename to other; insert into notes values (2)', /public\.notes/]
    ]
    const before = await admin(
      'select (select json_agg(n) from notes n) as notes, (select json_agg(c) ' +
        'from countries c) as countries, (select count(*)::int from pg_class ' +
        "where relnamespace = 'public'::regnamespace) as relations"
    )
    for (const [text, named] of wrongs) {
      await t.rejects(
        another({ migrations: { tenant: provider({ ...first, '003': text }) } }).migrate({
          only: { id: 't0001' }
        }),
        { code: 'FST_TENANCY_MIGRATION_FAILED', message: named },
        text
      )
    }
    t.same(
      await admin(
        'select (select json_agg(n) from notes n) as notes, (select json_agg(c) ' +
          'from countries c) as countries, (select count(*)::int from pg_class ' +
          "where relnamespace = 'public'::regnamespace) as relations"
      ),
      before
    )
    await t.rejects(
      another({
        migrations: { tenant: provider({ ...first, '003': 'create extension hstore schema tenant_t0001' }) }
      }).migrate({ only: { id: 't0001' } }),
      {
        message: new RegExp(
          'an extension belongs to the whole database.*create extension hstore schema ' +
            'extensions|permission denied'
        )
      }
    )
    await admin(`grant create on database "${new URL(world.superUrl).pathname.slice(1)}" to "${owner}"`)
    await t.rejects(
      another({ migrations: { tenant: provider({ ...first, '003': 'create extension hstore' }) } }).migrate({
        only: { id: 't0001' }
      }),
      { message: /an extension belongs to the whole database.*create extension hstore schema extensions/ }
    )
    t.same(await admin("select extname from pg_extension where extname = 'hstore'"), [])
  }
)

t.test('DAT-03 a migration outside a transaction has no schema on its path that holds tables', {
  buffered: true
}, async t => {
  const { admin, schemas, another, owner } = await migrations(t)
  await schemas(1)
  await admin(
    'create schema extensions; create extension citext schema extensions; create extension hstore; ' +
      `create table notes (id int); alter table notes owner to "${owner}"; ` +
      'grant usage on schema extensions to public'
  )
  await t.rejects(
    another({
      migrations: { tenant: provider({ '001': 'alter table notes add more int' }, { transaction: false }) }
    }).migrate(),
    { message: /relation "notes" does not exist/ }
  )
  t.match(
    (await another({
      migrations: { tenant: provider({ '001': 'create table own (email citext)' }, { transaction: false }) }
    }).migrate()).tenants,
    { migrated: 1 }
  )
  t.match(
    await admin(
      "select count(*)::int as n from pg_attribute where attrelid = 'notes'::regclass and attnum > 0"
    ),
    [{ n: 1 }]
  )
})
