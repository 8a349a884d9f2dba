import { Kysely, PostgresDialect, sql } from 'kysely'
import { Migrator, type Migration, type MigrationProvider } from 'kysely/migration'
import { readFileSync, writeFileSync } from 'node:fs'
import pg from 'pg'
import t from 'tap'

import { failure, migrations } from '../support/migrations.ts'

const notes = "await db.schema.createTable('notes').addColumn('id', 'serial', " +
  "c => c.primaryKey()).addColumn('body', 'text').execute()"

const color = "await db.schema.alterTable('notes').addColumn('color', 'text').execute()"

t.test('a new tenant of strategy schema starts at the newest migration', async t => {
  const { manager, write, admin } = await migrations(t, { tables: { shared: ['countries'] } })
  write(
    'shared',
    '001_countries',
    "await db.schema.createTable('countries').addColumn('code', 'text', c => c.primaryKey()).execute()"
  )
  write('tenant', '001_notes', notes)
  write(
    'tenant',
    '002_country',
    "await db.schema.alterTable('notes').addColumn('country', 'text', " +
      "c => c.references('public.countries.code')).execute()"
  )
  t.match(await manager.migrate(), {
    shared: [{
      shard: 'default',
      applied: ['001_countries'],
      unlisted: { length: 0 },
      unprotected: { length: 0 }
    }],
    tenants: { migrated: 0, current: 0 },
    failures: { length: 0 }
  })
  await manager.create({ slug: 'acme', id: 'acme_1' })
  await manager.create({ slug: 'globex', id: 'globex_1' })
  t.match(await manager.status(), {
    shared: [{ shard: 'default', version: '001_countries', isBehind: false }],
    tenants: [{ id: 'acme_1', slug: 'acme', version: '002_country', isBehind: false, pending: { length: 0 } },
      {
        slug: 'globex',
        version: '002_country'
      }]
  })
  write('tenant', '003_color', color)
  t.match(await manager.status(), { tenants: [{ isBehind: true, pending: ['003_color'] }, {}] })
  t.match(await manager.migrate({ dryRun: true }), { tenants: { migrated: 2, current: 0 } })
  t.match(await manager.migrate({ only: { slug: 'acme' } }), {
    shared: { length: 0 },
    tenants: { migrated: 1, current: 0 }
  })
  t.match(await manager.migrate(), { tenants: { migrated: 1, current: 1 } })
  t.match(await manager.migrate(), { tenants: { migrated: 0, current: 2 } })
  const columns = await admin(
    "select table_schema as schema from information_schema.columns where column_name = 'color' order by 1"
  )
  t.same(columns, [{ schema: 'tenant_acme_1' }, { schema: 'tenant_globex_1' }])
  const [row] = await admin<{ checksum: string; duration_ms: string; error: string | null }>(
    "select checksum, duration_ms, error from tenancy.migration_ledger where tenant_id = 'acme_1' " +
      "and name = '003_color'"
  )
  t.match(row, { checksum: /^[0-9a-f]{64}$/, error: null })
  t.ok(Number(row?.duration_ms) > 0)

  const drop = "await db.schema.alterTable('notes').dropColumn('color').execute()"
  // docs/migrations.md tells how to accept a change that has no effect.
  const accept = (file: string): Promise<unknown> =>
    admin(
      "update tenancy.migration_ledger set checksum = encode(sha256($1), 'hex') where name = '003_color'",
      [readFileSync(file)]
    )
  await accept(write('tenant', '003_color', color, `${drop}; await sql\`select 1 / 0\`.execute(db)`))
  await t.rejects(manager.migrateDown({ slug: 'acme' }), { code: '22012' })
  t.match(
    await manager.status(),
    { tenants: [{ version: '003_color', isBehind: false }, {}] },
    'all was taken back'
  )
  await accept(write('tenant', '003_color', color, drop))
  t.same(await manager.migrateDown({ slug: 'acme' }), ['003_color'])
  t.match(await manager.status(), {
    tenants: [{ version: '002_country', pending: ['003_color'] }, { version: '003_color' }]
  })
  await t.rejects(manager.migrateDown({ slug: 'acme' }), {
    code: 'FST_TENANCY_MIGRATION_INVALID',
    message: /'002_country' has no down/
  })
  t.match(await manager.migrate({ schema: 'tenant_acme_1' }), { tenants: { migrated: 1 } })
  await manager.delete({ slug: 'acme' })
  await t.rejects(manager.migrate({ only: { id: 'acme_1' } }), {
    code: 'FST_TENANCY_TENANT_CONFLICT',
    message: /'acme' is deleting: it is not migrated any more/
  })
  await manager.purge({ id: 'acme_1' })
  t.same(await admin("select tenant_id from tenancy.migration_ledger where tenant_id = 'acme_1'"), [])
  t.match(await manager.status(), { tenants: [{ slug: 'globex' }] })
})

t.test('an up() may read its own changes and write by them', async t => {
  const { manager, write, admin } = await migrations(t)
  write(
    'tenant',
    '001_notes',
    `${notes}
  await db.insertInto('notes').values([{ body: 'a' }, { body: 'b' }]).execute()
  const rows = await db.selectFrom('notes').selectAll().orderBy('id').execute()
  const result = await db.updateTable('notes').set({ body: 'c' }).where('id', '=', rows[1].id)
    .executeTakeFirst()
  if (result.numUpdatedRows !== 1n) throw new Error('updated ' + result.numUpdatedRows)
  await sql\`create table tags (name text) -- a comment at the end\`.execute(db)
  await sql\`alter table tags add id int; alter table tags add color text\`.execute(db)
  if ((await db.introspection.getTables()).length < 2) throw new Error('no tables')`
  )
  await manager.create({ slug: 'acme', id: 'acme_1' })
  t.same(await admin('select body from tenant_acme_1.notes order by id'), [{ body: 'a' }, { body: 'c' }])
  t.same((await admin('select * from tenant_acme_1.tags')).length, 0)
})

t.test('a database that was migrated by kysely-ctl goes on where that was', async t => {
  const { manager, write, admin, superUrl, owner } = await migrations(t, { tables: { tenant: ['projects'] } })
  const made: Migration = {
    up: async db => {
      await sql`create table projects (tenant_id text not null, id int)`.execute(db)
    }
  }
  const pool = new pg.Pool({ connectionString: superUrl, max: 1 })
  const kysely = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) })
  const { error } = await new Migrator({
    db: kysely,
    provider: {
      getMigrations: async () => ({ '001_projects': made, '900_of_another_folder': { up: async () => {} } })
    }
  }).migrateToLatest()
  await kysely.destroy()
  t.equal(error, undefined)
  write('shared', '001_projects', "throw new Error('it has run')")
  write('shared', '002_name', 'await sql`alter table projects add name text`.execute(db)')
  await admin(`alter table projects owner to "${owner}"; grant select on kysely_migration to public`)
  t.match(await manager.migrate(), {
    shared: [{ applied: ['002_name'], unlisted: ['kysely_migration', 'kysely_migration_lock'] }]
  })
  t.match((await manager.status()).shared, [{ version: '002_name', isBehind: false }])
  t.match(await manager.migrate(), { shared: [{ applied: { length: 0 } }] })
})

t.test("migrations may come from a provider of Kysely's; only, schema and set say which run", async t => {
  let version = 1
  const provider: MigrationProvider = {
    getMigrations: async () =>
      Object.fromEntries(Array.from({ length: version }, (_, index) => [`00${index}`, {
        up: async db => {
          await db.schema.createTable(`made_${index}`).addColumn('id', 'integer').execute()
        }
      }]))
  }
  const { manager, admin } = await migrations(t, { migrations: { tenant: provider } })
  await manager.create({ slug: 'acme', id: 'acme_1' })
  await manager.create({ slug: 'shares', isolation: 'rls' })
  version = 3
  t.match(await manager.migrate({ jobs: 2, only: [{ id: 'acme_1' }] }), { tenants: { migrated: 1 } })
  t.same(
    await admin("select tablename from pg_tables where schemaname = 'tenant_acme_1' order by 1"),
    [{ tablename: 'made_0' }, { tablename: 'made_1' }, { tablename: 'made_2' }].map(row => ({ ...row }))
  )
  await t.rejects(manager.migrate({ set: 'shared' }), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /options\.migrations\.shared is required/
  })
  await t.rejects(manager.migrate({ only: { slug: 'shares' } }), {
    code: 'FST_TENANCY_TENANT_CONFLICT',
    message: /has no tables of its own/
  })
  await t.rejects(manager.migrate({ only: { slug: 'nobody' } }), { code: 'FST_TENANCY_TENANT_UNKNOWN' })
  await t.rejects(manager.migrate({ schema: 'tenant_nobody' }), { code: 'FST_TENANCY_TENANT_UNKNOWN' })
  for (
    const input of [{ jobs: 0 }, { canary: -1 }, { only: 'acme' }, { lockTimeout: 5 }, { lockTimeout: '25d' },
      { wave: 0 }, { job: 1 }, { schema: 'x', check: true }]
  ) {
    await t.rejects(manager.migrate(input as never), {
      code: 'FST_TENANCY_OPTION_INVALID',
      message: /^migrate/
    }, JSON.stringify(input))
  }
})

t.test('a file that is no migration and a missing folder are refused by name', async t => {
  const { manager, write, another } = await migrations(t)
  await t.rejects(another({ migrations: { tenant: './nowhere' } }).migrate(), {
    code: 'FST_TENANCY_MIGRATION_INVALID',
    message: /the folder does not exist/
  })
  await t.rejects(another({ migrations: {} }).migrate(), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /options\.migrations is required/
  })
  const file = write('tenant', '001_typo', '')
  writeFileSync(file, 'export const upp = 1')
  await t.rejects(manager.migrate(), {
    code: 'FST_TENANCY_MIGRATION_INVALID',
    message: /001_typo\.ts exports no function up/
  })
  writeFileSync(file, 'export async function up () {}')
  writeFileSync(file.replace('.ts', '.mjs'), 'export async function up () {}')
  await t.rejects(manager.migrate(), {
    code: 'FST_TENANCY_MIGRATION_INVALID',
    message: /two migrations named '001_typo'/
  })
})

t.test('a schema change that up() did not await is part of its migration', async t => {
  const { manager, write, schemas, admin } = await migrations(t)
  await schemas(3)
  write('tenant', '001_notes', `${notes}; db.schema.createTable('tags').addColumn('id', 'integer').execute()`)
  t.match(await manager.migrate(), { tenants: { migrated: 3 } })
  t.same(await admin("select count(*)::int as n from pg_tables where tablename = 'tags'"), [{ n: 3 }])
  write('tenant', '002_more', 'sql`insert into tags values (1)`.execute(db).catch(() => {})')
  t.match(await failure(manager.migrate({ continue: true })), {
    report: {
      tenants: { failed: 3 },
      failures: [{ error: { message: /returned before one of its statements had: await every statement/ } },
        {}, {}]
    }
  })
  t.same(await admin('select id from tenant_t0001.tags union all select id from tenant_t0002.tags'), [])
})

t.test('a migration that ends its transaction or outlives up() stops alone', async t => {
  const { manager, write, schemas, admin, another } = await migrations(t)
  await schemas(2)
  const message =
    /remove '(?:commit|rollback)' from it|invalid transaction termination|ended (?:its|the) transaction/
  // In the last one the words are not what they look like.
  for (
    const statements of [['commit'], ['create table a (); commit; create table b ()'], ['rollback'], [
      'do $$ begin commit; end $$'
    ], ['set standard_conforming_strings = off', "select 'a\\''; commit; select ''"]]
  ) {
    write(
      'tenant',
      '001_ends',
      `for (const text of ${JSON.stringify(statements)}) await sql.raw(text).execute(db)`
    )
    t.match(await failure(manager.migrate({ continue: true })), {
      report: { failures: [{ error: { message } }, { error: { message } }] }
    }, statements.join())
  }
  t.same(await admin("select tablename from pg_tables where tablename in ('a', 'b')"), [])
  write('tenant', '001_ends', 'await sql`select 1 / 0`.execute(db).catch(() => {})')
  t.match(
    await failure(manager.migrate()),
    { message: /current transaction is aborted/ },
    'an error that was swallowed'
  )
  t.same(await admin('select name from tenancy.migration_ledger where applied_at is not null'), [])
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  let stray: Promise<unknown> = Promise.resolve()
  const provider: MigrationProvider = {
    getMigrations: async () => ({
      '001_strays': {
        async up (db) {
          await sql`create temp table mine (id int)`.execute(db)
          await sql`set statement_timeout = '7s'`.execute(db)
          const { rows: [row] } =
            await sql`select current_schema() as schema, current_setting('statement_timeout') as timeout`
              .execute(db)
          t.match(row, { schema: /^tenant_t000[12]$/, timeout: '7s' })
          stray = ended.then(() => sql`create table stray ()`.execute(db)).catch((error: unknown) => error)
        }
      }
    })
  }
  t.match(await another({ migrations: { tenant: provider } }).migrate({ jobs: 1 }), {
    tenants: { migrated: 2 }
  }, 'a temporary table of one tenant is not in the way of the next')
  end()
  t.match(await stray, { message: /already committed|had returned/ })
  t.same(await admin("select schemaname from pg_tables where tablename = 'stray'"), [])
})
