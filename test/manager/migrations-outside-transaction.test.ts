// Migrations with `export const transaction = false`: statements that PostgreSQL refuses in a
// transaction, and what the ledger says of them afterwards.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'

import { failure, migrations, type Migrations } from '../support/migrations.ts'
import { connect } from '../support/sql.ts'
import { until } from '../support/until.ts'

const alone = 'export const transaction = false'
const notes = 'await sql`create table notes (id serial primary key, body text)`.execute(db)'
const index = 'await sql`create index concurrently notes_body on notes (body)`.execute(db)'

const indexes = (admin: Migrations['admin']): Promise<unknown> =>
  admin(
    'select indexrelid::regclass::text as name, indisvalid as valid from pg_index ' +
      "where indexrelid::regclass::text like '%notes_body%' order by 1"
  )
const ledger = (admin: Migrations['admin']): Promise<unknown> =>
  admin(
    'select tenant_id, name, applied_at is not null as applied, error from tenancy.migration_ledger ' +
      "where name = '002_index' order by 1"
  )
const waitingIndex = async (admin: Migrations['admin']): Promise<boolean> =>
  (await admin(
    'select from pg_stat_activity where datname = current_database() and query like ' +
      "'%index concurrently%' and state = 'active' and wait_event_type = 'Lock'"
  )).length === 1

t.test('migrations outside a transaction run in order: a concurrent index, a new enum value', async t => {
  const { manager, write, schemas, admin, another, owner } = await migrations(t, {
    tables: { tenant: ['things'] }
  })
  await schemas(2)
  write(
    'shared',
    '001_things',
    'await sql`create table things (tenant_id text not null, id int); ' +
      "create type mood as enum ('sad')`.execute(db)"
  )
  write(
    'shared',
    '002_mood',
    "await sql`alter type mood add value 'happy'`.execute(db); " +
      'await sql`create index concurrently things_id on things (tenant_id, id)`.execute(db)',
    undefined,
    alone
  )
  write('shared', '003_use', "await sql`alter table things add mood mood default 'happy'`.execute(db)")
  write('tenant', '001_notes', notes)
  write('tenant', '002_index', index, 'await sql`drop index notes_body`.execute(db)', alone)
  write(
    'tenant',
    '003_color',
    "await db.schema.alterTable('notes').addColumn('color', 'text').execute()",
    "await db.schema.alterTable('notes').dropColumn('color').execute()"
  )
  t.match(await manager.migrate(), {
    shared: [{ applied: ['001_things', '002_mood', '003_use'], unprotected: { length: 0 } }],
    tenants: { migrated: 2, failed: 0 }
  })
  t.same(await indexes(admin), [{ name: 'tenant_t0001.notes_body', valid: true }, {
    name: 'tenant_t0002.notes_body',
    valid: true
  }])
  t.same(
    await admin(
      "select distinct pg_get_userbyid(relowner) as owner from pg_class where relname in ('notes_body', " +
        "'things_id')"
    ),
    [{ owner }]
  )
  t.match(
    await admin(
      'select name, error from tenancy.migration_ledger where duration_ms > 0 and applied_at ' +
        'is not null order by tenant_id, name'
    ),
    Array.from({ length: 9 }, () => ({ error: null }))
  )
  t.match(await manager.migrate(), { tenants: { migrated: 0, current: 2 } })
  t.match(
    await manager.create({ slug: 'acme', id: 'acme_1' }),
    { status: 'active' },
    'a new tenant has it, too'
  )
  t.same(
    await manager.migrateDown({ id: 'acme_1' }, { steps: 2 }),
    ['003_color', '002_index'],
    'taken back in a transaction'
  )
  const both = await Promise.all([another().migrate(), another().migrate()])
  t.equal(both.reduce((sum, { tenants }) => sum + tenants.failed, 0), 0)
  write('tenant', '004_typo', notes, undefined, "export const transaction = 'off'")
  await t.rejects(manager.migrate(), {
    code: 'FST_TENANCY_MIGRATION_INVALID',
    message: /'004_typo' exports a transaction that is neither true nor false/
  })
})

t.test('MIG-02 one of several runners runs it, and the others do not block the index', async t => {
  const { another, write, schemas, admin } = await migrations(t)
  await schemas(4)
  write('shared', '001_notes', notes)
  write('shared', '002_index', index, undefined, alone)
  write('tenant', '001_notes', notes)
  write('tenant', '002_index', index, undefined, alone)
  const reports = await Promise.all(
    Array.from({ length: 3 }, () => another().migrate({ jobs: 2, retries: 20 }))
  )
  // Between the two migrations of a tenant another runner may take over, hence the retries.
  t.same(reports.flatMap(({ failures }) => failures), [])
  t.same(
    await admin(
      'select count(*)::int as n from tenancy.migration_ledger where applied_at is not null ' +
        "and tenant_id <> ''"
    ),
    [{ n: 8 }]
  )
  t.equal(reports.flatMap(({ shared }) => shared.flatMap(({ applied }) => applied)).length, 2)
  t.equal((await indexes(admin) as unknown[]).length, 5)
})

t.test('MIG-06 it waits for locks a bounded time and drops its leftovers before a retry', async t => {
  const { another, manager, write, schemas, admin, superUrl } = await migrations(t)
  await schemas(1)
  write('tenant', '001_notes', notes)
  await manager.migrate()
  write('tenant', '002_index', index, undefined, alone)
  const writer = await connect(t, superUrl)
  await writer.query("begin; insert into tenant_t0001.notes (body) values ('a')")
  t.match(await failure(another().migrate({ lockTimeout: '50ms', retries: 1 })), {
    message: new RegExp(
      "^migration '002_index' of tenant st0001 failed: canceling statement due to lock " +
        String.raw`timeout; it left the INVALID index tenant_t0001\.notes_body, which the next attempt ` +
        'drops$'
    )
  })
  t.same(await indexes(admin), [{ name: 'tenant_t0001.notes_body', valid: false }])
  t.match(await ledger(admin), [{ applied: false, error: /lock timeout/ }])
  const migrated = manager.migrate({ lockTimeout: '50ms', retries: 20 })
  await until(() => waitingIndex(admin))
  await writer.query('commit')
  t.match(await migrated, { tenants: { migrated: 1 } })
  t.same(await indexes(admin), [{ name: 'tenant_t0001.notes_body', valid: true }])
  t.match(await ledger(admin), [{ applied: true, error: null }])
})

t.test('MIG-06 it is retried by itself only if none of its statements ran', async t => {
  const { manager, another, write, schemas, admin, superUrl } = await migrations(t)
  await schemas(1)
  write('tenant', '001_notes', `${notes}; await sql\`create table lines (n int)\`.execute(db)`)
  await manager.migrate()
  write(
    'tenant',
    '002_more',
    "await sql`set work_mem = '8MB'`.execute(db); await sql`insert into lines values (1)`.execute(db); " +
      'await sql`alter table notes add color text`.execute(db)',
    undefined,
    alone
  )
  const writer = await connect(t, superUrl)
  await writer.query("begin; insert into tenant_t0001.notes (body) values ('a')")
  t.match(await failure(another().migrate({ lockTimeout: '20ms', retries: 3 })), {
    message: new RegExp(
      "^migration '002_more' of tenant st0001 failed: canceling statement due to lock " +
        'timeout; its earlier statements stay committed, and the next call runs them again$'
    )
  })
  t.same(await admin('select n from tenant_t0001.lines'), [{ n: 1 }])
  t.match(await admin("select error from tenancy.migration_ledger where name = '002_more'"), [{
    error: /its earlier statements stay committed/
  }])
  await writer.query('commit')
  t.match(await manager.migrate(), { tenants: { migrated: 1 } })
  t.same(
    await admin('select n from tenant_t0001.lines'),
    [{ n: 1 }, { n: 1 }],
    'control: the operator decided so'
  )
})

t.test("`if not exists` skips no invalid index and drops no other session's build", async t => {
  const { manager, another, write, schemas, admin, superUrl } = await migrations(t)
  await schemas(1)
  write('tenant', '001_notes', notes)
  await manager.migrate()
  await admin("insert into tenant_t0001.notes (body) values ('twice'), ('twice')")
  write(
    'tenant',
    '002_index',
    'await sql`create unique index concurrently if not exists notes_body on notes (body)`.execute(db)',
    undefined,
    alone
  )
  t.match(await failure(manager.migrate()), {
    message: new RegExp(
      String.raw`could not create unique index.*; it left the INVALID index tenant_t0001\.notes_body, ` +
        'which the next attempt drops$'
    )
  })
  const busy = await connect(t, superUrl)
  await admin(
    'create index notes_bod on tenant_t0001.notes (id); update pg_index set indisvalid = false ' +
      "where indexrelid = 'tenant_t0001.notes_bod'::regclass"
  )
  await busy.query('begin; lock table tenant_t0001.notes in share update exclusive mode')
  t.match(await failure(another().migrate({ retries: 0 })), {
    message: new RegExp(
      'could not obtain lock on relation "tenant_t0001.notes"; it left the INVALID index ' +
        String.raw`tenant_t0001\.notes_body, which the next attempt drops$`
    )
  })
  await busy.query('commit')
  t.match(
    await failure(manager.migrate()),
    { message: /could not create unique index/ },
    'it is not taken for done'
  )
  await admin('delete from tenant_t0001.notes')
  t.match(await manager.migrate(), { tenants: { migrated: 1 } })
  t.same(await indexes(admin), [{ name: 'tenant_t0001.notes_body', valid: true }])
  t.match(await admin("select to_regclass('tenant_t0001.notes_bod')::text as name"), [{
    name: 'tenant_t0001.notes_bod'
  }], 'whose name begins alike was left by another session')
  t.match(await ledger(admin), [{ applied: true, error: null }])
})

t.test('MIG-03 after a runner is killed midway, nothing runs again without a decision', async t => {
  const { manager, another, write, schemas, admin, superUrl, options } = await migrations(t)
  await schemas(2)
  write('tenant', '001_notes', notes)
  await manager.migrate()
  write('tenant', '002_index', index, undefined, alone)
  const writer = await connect(t, superUrl)
  await writer.query("begin; insert into tenant_t0001.notes (body) values ('a')")
  const child = fork(join(import.meta.dirname, '../support/migrate-process.ts'), [
    JSON.stringify({ options, input: { only: { id: 't0001' }, lockTimeout: '1m' } })
  ], { execArgv: ['--conditions=@fastify-tenancy/source'] })
  await until(() => waitingIndex(admin), 20_000)
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
  t.match(await ledger(admin), [{ tenant_id: 't0001', applied: false, error: null }], 'begun, and not ended')
  t.match(await failure(another().migrate({ only: { id: 't0001' }, retries: 0 })), {
    report: { failures: [{ error: { message: /another process is at work/ } }] }
  }, 'the server is still at it')
  await admin(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() ' +
      "and query like '%index concurrently%' and pid <> pg_backend_pid()"
  )
  await writer.query('commit')
  await until(async () =>
    (await admin(
      "select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database " +
        'where datname = current_database())'
    )).length === 0
  )

  t.match(await manager.status(), {
    tenants: [{
      failure: { migration: '002_index', error: 'started outside a transaction, and has not ended' }
    }, {}]
  })
  const error = await failure(manager.migrate({ continue: true })) as Error
  t.match(
    error.message,
    new RegExp(
      "^migration '002_index' of tenant st0001 failed: migration '002_index' started outside a " +
        String.raw`transaction at .*Z, and its process died, so its result is unknown\. There is the ` +
        String.raw`INVALID index tenant_t0001\.notes_body: drop index concurrently ` +
        String.raw`tenant_t0001\.notes_body\.`
    )
  )
  t.match(await ledger(admin), [{ tenant_id: 't0001', applied: false, error: null }, {
    tenant_id: 't0002',
    applied: true
  }], 'the others go on')
  const [, drop, again, taken] =
    /: (drop index concurrently \S+)\. Check.*run again: (delete .*); or record it as applied: (update .*)$/
      .exec(
        error.message
      ) ?? []
  const owner = await connect(t, (options.database as { ownerUrl: string }).ownerUrl)
  await admin(drop ?? '')
  await owner.query(`begin; ${taken}`)
  t.match(
    await owner.query(
      "select name from tenancy.migration_ledger where tenant_id = 't0001' and applied_at is not null " +
        'order by 1'
    ),
    { rows: [{ name: '001_notes' }, { name: '002_index' }] },
    'one of the two ways'
  )
  await owner.query(`rollback; ${again}`)
  t.match(await manager.migrate(), { tenants: { migrated: 1, current: 1 } }, 'the other')
  t.same(await indexes(admin), [{ name: 'tenant_t0001.notes_body', valid: true }, {
    name: 'tenant_t0002.notes_body',
    valid: true
  }])
})
