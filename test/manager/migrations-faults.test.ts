import { sql } from 'kysely'
import type { MigrationProvider } from 'kysely/migration'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'

import type { MigrateProcess } from '../support/migrate-process.ts'
import { failure, migrations, type Migrations } from '../support/migrations.ts'
import { temporaryFolder } from '../support/services.ts'
import { connect } from '../support/sql.ts'
import { until } from '../support/until.ts'

// Killed processes write no compile cache. Here they share the run's, or this one.
const cache = temporaryFolder()
t.teardown(() => rmSync(cache, { recursive: true, force: true }))

const notes = 'await sql`create table notes (id serial primary key, body text)`.execute(db)'

function start (given: MigrateProcess, env: Record<string, string> = {}): ChildProcess {
  return fork(join(import.meta.dirname, '../support/migrate-process.ts'), [JSON.stringify(given)], {
    execArgv: ['--conditions=@fastify-tenancy/source'],
    env: { NODE_COMPILE_CACHE: cache, ...process.env, ...env }
  })
}

async function signalOf (child: ChildProcess): Promise<unknown> {
  const [code, signal] = await once(child, 'exit')
  return signal ?? code
}

/** What the ledger says and what the tables show. Both must agree. */
async function done (t: Test, { admin }: Migrations): Promise<string[]> {
  const ledger = await admin<{ id: string }>(
    'select tenant_id as id from tenancy.migration_ledger where applied_at is not null ' +
      "and name = '001_notes' order by 1"
  )
  const tables = await admin<{ id: string }>(
    "select substr(schemaname, 8) as id from pg_tables where tablename = 'notes' order by 1"
  )
  t.same(ledger, tables, 'the ledger and the tables agree')
  return ledger.map(({ id }) => id)
}

async function noLocks ({ admin }: Migrations): Promise<void> {
  await until(async () =>
    (await admin<{ n: number }>(
      "select count(*)::int as n from pg_locks where locktype = 'advisory' and database = (select oid " +
        'from pg_database where datname = current_database())'
    ))[0]?.n === 0
  )
}

t.test('MIG-03 a runner killed at any step leaves no lock, and the same call resumes', async t => {
  const world = await migrations(t)
  const { write, schemas, options, admin, manager } = world
  const ids = await schemas(3)
  write('shared', '001_things', 'await sql`create table things (id int)`.execute(db)')
  write(
    'tenant',
    '001_notes',
    `${notes}
  const { rows: [row] } = await sql\`select current_schema() as schema\`.execute(db)
  if (process.env.DIE_IN === row.schema) process.kill(process.pid, 'SIGKILL')
  await sql\`create table more ()\`.execute(db)`
  )
  const killed = async (dieAt: string, env?: Record<string, string>): Promise<void> => {
    t.equal(await signalOf(start({ options, input: { jobs: 1 }, dieAt }, env)), 'SIGKILL')
    await noLocks(world)
  }
  await killed('shared:default')
  t.same(await done(t, world), [])
  t.same(await admin('select name from tenancy.migration_ledger'), [{ name: '001_things' }])
  await killed('migrated')
  t.same(await done(t, world), ids.slice(0, 1))
  await killed('never', { DIE_IN: 'tenant_t0002' })
  t.same(await done(t, world), ids.slice(0, 1), 'in the middle of a transaction: nothing of it stays')
  await killed('migrated')
  t.same(await done(t, world), ids.slice(0, 2))
  t.match(await manager.migrate(), {
    shared: [{ applied: { length: 0 } }],
    tenants: { migrated: 1, current: 2 }
  })
  t.same(await done(t, world), ids)
})

t.test('MIG-03 a runner killed while it waits for a lock frees its locks for the next runner', async t => {
  const world = await migrations(t)
  const { write, schemas, options, admin, manager, superUrl } = world
  await schemas(1)
  write('tenant', '001_notes', notes)
  await manager.migrate()
  write('tenant', '002_color', 'await sql`alter table notes add color text`.execute(db)')
  const other = await connect(t, superUrl)
  await other.query('begin; select * from tenant_t0001.notes')
  const child = start({ options, input: { lockTimeout: '1m' } })
  await until(
    async () =>
      (await admin(
        'select from pg_locks l join pg_class c on c.oid = l.relation where not l.granted ' +
          "and c.relname = 'notes'"
      )).length === 1,
    30_000
  )
  const exit = signalOf(child)
  child.kill('SIGKILL')
  t.equal(await exit, 'SIGKILL')
  await other.query('commit')
  await noLocks(world)
  await manager.migrate()
  t.match((await manager.status()).tenants, [{ version: '002_color', isBehind: false }])
})

t.test('MIG-06 behind a long transaction a migration retries with bounded waits for readers', async t => {
  const { another, schemas, superUrl, admin } = await migrations(t)
  await schemas(1)
  let attempts = 0
  const provider: MigrationProvider = {
    getMigrations: async () => ({
      '001_notes': {
        up: async db => {
          await sql`create table notes (id int)`.execute(db)
        }
      },
      '002_color': {
        async up (db) {
          attempts++
          await db.schema.alterTable('notes').addColumn('color', 'text').execute()
        }
      }
    })
  }
  const { '001_notes': first } = await provider.getMigrations()
  await another({
    migrations: {
      tenant: { getMigrations: async () => ({ '001_notes': first as NonNullable<typeof first> }) }
    }
  }).migrate()
  const manager = another({ migrations: { tenant: provider } })
  const [long, reader, naive] = [await connect(t, superUrl), await connect(t, superUrl),
    await connect(t, superUrl)]
  const reads = async (whileTrue: () => boolean): Promise<number> => {
    let count = 0
    for (; whileTrue(); count++) await reader.query('select * from tenant_t0001.notes')
    return count
  }
  await long.query('begin; select * from tenant_t0001.notes')

  // Control: without a bound, readers wait as long as the long transaction takes.
  await naive.query('begin')
  const altering = failure(naive.query('alter table tenant_t0001.notes add naive int'))
  await until(async () =>
    (await admin(
      'select from pg_locks where not granted and database = (select oid from pg_database ' +
        'where datname = current_database())'
    )).length > 0
  )
  await reader.query('set statement_timeout = 1000')
  await t.rejects(reader.query('select * from tenant_t0001.notes'), { code: '57014' })
  await admin(
    'select pg_cancel_backend(pid) from pg_stat_activity where datname = current_database() ' +
      "and query like 'alter table%naive%' and state = 'active'"
  )
  t.match(await altering, { code: '57014' })
  await naive.query('rollback')
  await reader.query('set statement_timeout = 0')

  t.match(await failure(manager.migrate({ lockTimeout: '100ms', retries: 0 })), {
    message: /^migration '002_color' of tenant st0001 failed: canceling statement due to lock timeout/
  })
  t.equal(attempts, 1)
  t.match((await manager.status()).tenants, [{ failure: { migration: '002_color', error: /lock timeout/ } }])
  const running = manager.migrate({ lockTimeout: '100ms', retries: 20 })
  const count = await reads(() => attempts < 5)
  await long.query('commit')
  t.match(await running, { tenants: { migrated: 1 } })
  t.ok(count > 0, `${count} reads while the long transaction went on`)
  t.match((await manager.status()).tenants, [{ version: '002_color', failure: undefined }])
})
