// A tenant's migration stays within the tenant's schema wherever it runs: in `migrate --check`, in
// the tenant's own database, and outside a transaction.
import { sql, type Kysely } from 'kysely'
import type { Migration, MigrationProvider } from 'kysely/migration'
import t from 'tap'

import { failure, migrations } from '../support/migrations.ts'
import { connect } from '../support/sql.ts'
import { managerFixture, unique } from './manager-fixture.ts'

type Up = string | readonly string[] | Migration['up']

const provider = (files: Record<string, Up>, isAlone = false): MigrationProvider => ({
  getMigrations: async () =>
    Object.fromEntries(
      Object.entries(files).map(([name, up]) => [name, {
        up: typeof up === 'function'
          ? up
          : async (db: Kysely<unknown>) => {
            for (const text of [up].flat()) await sql.raw(text).execute(db)
          },
        ...(isAlone && { transaction: false })
      }])
    )
})

const wrongs: readonly [string, RegExp][] = [
  ['create table public.mine (n int)', /wrote public\.mine, outside/],
  ['alter table public.notes add more int', /wrote public\.notes, outside/],
  ['drop table public.notes', /dropped: public\.notes/],
  ['update public.notes set id = 1', /wrote public\.notes, outside/],
  ["insert into public.countries values ('DE')", /wrote public\.countries, outside/],
  ['alter table tenant_t0002.own add other int', /wrote tenant_t0002\.own, outside/]
]
const state = 'select (select json_agg(n) from notes n) as notes, (select json_agg(c) ' +
  "from countries c) as countries, (select md5(string_agg(a::text, ',' order by attrelid, attnum)) " +
  'from (select attrelid, attnum, attname from pg_attribute where attnum > 0 and attrelid >= 16384) a) ' +
  'as columns'

const inOne: Migration['up'] = async db => {
  await db.transaction().execute(trx => sql`update public.notes set id = 2`.execute(trx))
}

t.test(
  'DAT-03 a check also names changes outside the schema',
  { buffered: true },
  async t => {
    const { admin, schemas, another, owner } = await migrations(t)
    await schemas(2)
    await admin(
      'create table notes (id int); create table countries (code text primary key); ' +
        `alter table notes owner to "${owner}"; alter table countries owner to "${owner}"; ` +
        `grant create on schema public to "${owner}"`
    )
    const shared = provider({
      '001': "insert into countries values ('NL')",
      '002':
        'alter table notes add shared int; create table fresh (id int primary key); create table brief ()',
      '003': 'drop table brief'
    })
    const first = { '001': 'create table own (id int primary key, country text references public.countries)' }
    await another({ migrations: { tenant: provider(first) } }).migrate()
    const check = (...texts: string[]): Promise<unknown> =>
      another({
        migrations: {
          shared,
          tenant: provider({
            ...first,
            ...Object.fromEntries(texts.map((text, index) => [`00${index + 2}`, text]))
          })
        }
      }).migrate({ check: true })
    const before = await admin(state)
    t.match(
      await check(
        'alter table own add fresh int references public.fresh',
        'drop table own; create table own ()'
      ),
      { failures: { length: 0 } },
      'control: what is its own, though the shared set locked other tables in the same check'
    )
    for (const [text, message] of wrongs)
      t.match(await failure(check(text)), { message, report: { failures: [{ migration: '002' }] } }, text)
    t.match(
      await failure(
        another({ migrations: { tenant: provider({ ...first, '002': 'create extension hstore' }) } }).migrate(
          { check: true }
        )
      ),
      { message: /an extension belongs to the whole database|permission denied/ }
    )
    t.same(await admin(state), before)
  }
)

t.test('DAT-03 outside a transaction no change outside the schema stays', {
  buffered: true
}, async t => {
  const { admin, schemas, another, owner } = await migrations(t)
  await schemas(2)
  await admin(
    'create table notes (id int); create table countries (code text primary key); ' +
      `alter table notes owner to "${owner}"; alter table countries owner to "${owner}"; ` +
      `grant create on schema public to "${owner}"`
  )
  const first = {
    '001': [
      "create type mood as enum ('sad')",
      'create table own (id int primary key, country text references public.countries)',
      "alter type mood add value 'happy'",
      "alter table own add mood mood default 'happy'",
      'create index concurrently on own (country)',
      'set search_path = pg_catalog',
      'vacuum tenant_t0001.own',
      'do $$ begin for n in 1..3 loop insert into tenant_t0001.own (id) values (n) ' +
      'on conflict do nothing; commit; end loop; end $$'
    ]
  }
  const migrate = (files: Record<string, Up>): Promise<unknown> =>
    another({ migrations: { tenant: provider(files, true) } }).migrate({ only: { id: 't0001' } })
  await another({ migrations: { tenant: provider({ '001': 'create table own (id int)' }) } }).migrate({
    only: { id: 't0002' }
  })
  t.match(await migrate(first), { tenants: { migrated: 1 } }, 'control: what is its own')
  t.same(
    await admin('select id, mood::text from tenant_t0001.own order by 1'),
    [1, 2, 3].map(id => ({ id, mood: 'happy' }))
  )
  const before = await admin(state)
  for (const [text, message] of wrongs)
    t.match(await failure(migrate({ ...first, '002': text })), { message }, text)
  await admin('insert into notes values (1)')
  t.match(
    await failure(migrate({ ...first, '002': inOne })),
    { message: /public\.notes, outside/ },
    'in one of its own'
  )
  await admin('delete from notes')
  t.same(await admin(state), before)

  const stays: readonly [Up, RegExp][] = [
    ['create index concurrently notes_id on public.notes (id)', /public\.notes changed outside/],
    ['do $$ begin create table public.mine (); commit; end $$', /public\.mine changed outside/],
    ['do $$ begin alter table tenant_t0002.own add other int; commit; end $$',
      /schema tenant_t0002 changed outside/],
    [['begin', 'drop table public.mine', 'commit'], /public\.mine changed outside/]
  ]
  for (const [index, [up, message]] of stays.entries())
    t.match(await failure(migrate({ ...first, [`00${index + 2}`]: up })), { message }, `${String(up)}`)
  t.match(
    await admin(
      "select name from tenancy.migration_ledger where tenant_id = 't0001' and applied_at is not null"
    ),
    [{ name: '001' }]
  )
})

t.test("DAT-03 in a tenant's own database", { buffered: true }, async t => {
  const on = await managerFixture(t, { more: { isolation: 'database' } })
  const id = unique(on, 'a')
  const managed = (up: Up, isAlone = false): ReturnType<typeof on.another> =>
    on.another({ isolation: 'database', migrations: { tenant: provider({ '001': up }, isAlone) } })
  await managed('create table more (id int)').create({ id, slug: 'acme' })
  const own = await connect(t, on.superUrl.replace(/\/[^/]*$/, `/tenant_${id}`))
  const name = (await own.query<{ owner: string }>(
    "select pg_get_userbyid(nspowner) as owner from pg_namespace where nspname = 'tenancy'"
  )).rows[0]?.owner
  await own.query(
    `create schema other authorization "${name}"; create table other.kept (id int); ` +
      `alter table other.kept owner to "${name}"; delete from tenancy.migration_ledger; drop table more`
  )
  for (const isAlone of [false, true]) {
    for (
      const [text, message] of [
        ['insert into other.kept values (1)', /other\.kept, outside/],
        ['drop table other.kept', /dropped: other\.kept/],
        ['create table other.mine ()', /other\.mine, outside/],
        ["insert into tenancy.migration_gate values ('x')", /tenancy\.|does not exist/]
      ] as const
    ) {
      t.match(await failure(managed(text, isAlone).migrate()), { message }, `${text} ${isAlone}`)
      if (!isAlone)
        t.match(await failure(managed(text).migrate({ check: true })), { message }, `${text}, checked`)
    }
  }
  t.match((await managed('create table more (id int)').migrate()).tenants, { migrated: 1 }, 'control')
  t.same((await own.query('select * from other.kept')).rows, [])
  await own.end()
})
