import { tenantRole } from '@fastify-tenancy/core/keys'
import { sql } from 'kysely'
import type { MigrationProvider } from 'kysely/migration'
import { rmSync } from 'node:fs'
import t from 'tap'

import { failure, migrations } from '../support/migrations.ts'
import { connect, databaseOf } from '../support/sql.ts'

const notes = 'await sql`create table notes (id serial primary key, body text)`.execute(db)'
const color = "await db.schema.alterTable('notes').addColumn('color', 'text').execute()"

t.test('a failed canary stops the run, waves are finished in order, and maxFailures is kept', async t => {
  const { another, write, schemas, admin } = await migrations(t)
  await schemas(20)
  write('tenant', '001_notes', notes)
  const events: string[] = []
  const manager = another({
    progress: ({ operation, tenant, step, done, total }) => {
      if (tenant !== undefined) events.push(`${operation} ${step} ${done}/${total}`)
    }
  })
  const block = (tenant: string): Promise<unknown> => admin(`create table tenant_${tenant}.notes (id int)`)
  await block('t0002')
  t.match(await failure(manager.migrate({ jobs: 4, canary: 2, continue: true })), {
    report: { tenants: { migrated: 1, failed: 1, left: 18 } }
  })
  await block('t0009')
  await admin('drop table tenant_t0002.notes')
  t.match(await failure(manager.migrate({ jobs: 4, canary: 2, wave: 5 })), {
    report: { tenants: { current: 1, failed: 1 } }
  })
  const { tenants } = await manager.status()
  t.ok(tenants.slice(0, 7).every(({ isBehind }) => !isBehind), 'the canaries and the first wave')
  t.ok(tenants.slice(13).every(({ isBehind }) => isBehind), 'no third wave')
  await block('t0015')
  t.match(await failure(manager.migrate({ jobs: 4, maxFailures: 1 })), { report: { tenants: { failed: 2 } } })
  events.length = 0
  t.match(await failure(manager.migrate({ jobs: 4, continue: true })), {
    message: /1 more failed$/,
    report: { tenants: { failed: 2, left: 0 } }
  })
  t.equal(events.filter(text => text.startsWith('migrate failed')).length, 2)
  t.match(
    events.map(text => Number(/(\d+)\//.exec(text)?.[1])),
    events.map((_, index) => index + 1),
    'counted up'
  )
  await admin('drop table tenant_t0009.notes; drop table tenant_t0015.notes')
  t.match(await manager.migrate(), { tenants: { migrated: 2, current: 18 } })
})

t.test('MIG-02 of two runners at once each migration is applied once, and both end well', async t => {
  const { another, write, schemas, admin } = await migrations(t, { tables: { tenant: ['things'] } })
  const ids = await schemas(40)
  write('shared', '001_things', 'await sql`create table things (tenant_id text not null)`.execute(db)')
  write('tenant', '001_notes', notes)
  write('tenant', '002_count', "await sql`insert into notes (body) values ('ran')`.execute(db)")
  const reports = await Promise.all(Array.from({ length: 3 }, () => another().migrate({ jobs: 3 })))
  t.equal(reports.reduce((sum, { tenants }) => sum + tenants.migrated, 0), 40, 'each tenant by one of them')
  t.equal(reports.flatMap(({ shared }) => shared.flatMap(({ applied }) => applied)).length, 1)
  for (const id of ids.slice(0, 5))
    t.same(await admin(`select body from tenant_${id}.notes`), [{ body: 'ran' }])
  t.same(await admin("select count(*)::int as n from tenancy.migration_ledger where tenant_id <> ''"), [{
    n: 80
  }])
})

t.test('MIG-07 tenants created or suspended during a run are migrated, deleted tenants skipped', async t => {
  const { another, schemas, admin } = await migrations(t)
  await schemas(6)
  const meanwhile: { run?: (schema: string) => Promise<void> } = {}
  const newest: MigrationProvider = {
    getMigrations: async () => ({
      '001_notes': {
        async up (db) {
          const { rows: [row] } = await sql<{ schema: string }>`select current_schema() as schema`.execute(db)
          await meanwhile.run?.(row?.schema ?? '')
          await db.schema.createTable('notes').addColumn('id', 'integer').execute()
        }
      }
    })
  }
  const [manager, same] = [another({ migrations: { tenant: newest } }),
    another({ migrations: { tenant: newest } })]
  const older = another({ migrations: { tenant: { getMigrations: async () => ({}) } } })
  meanwhile.run = async schema => {
    if (schema !== 'tenant_t0002') return
    // Created by a process of this version, and by an older process without the migration.
    await same.create({ slug: 'new', id: 'a-new' })
    await older.create({ slug: 'older', id: 'an-older' })
    await admin("update tenancy.tenants set status = 'suspended' where id = 't0003'")
    await admin("update tenancy.tenants set status = 'deleting' where id in ('t0004', 't0005')")
    await admin('drop schema tenant_t0004 cascade')
  }
  t.match(await manager.migrate({ jobs: 1 }), {
    tenants: { migrated: 5, current: 1, skipped: 2, failed: 0, left: 0 }
  })
  t.same(
    (await manager.status()).tenants.map(({ id, version }) => `${id} ${version}`),
    ['a-new', 'an-older', 't0001', 't0002', 't0003', 't0006'].map(id => `${id} 001_notes`)
  )
  t.same(
    await admin("select tablename from pg_tables where schemaname = 'tenant_t0005'"),
    [],
    'who is being deleted is not touched'
  )
  await admin('drop schema tenant_t0006 cascade')
  await admin("delete from tenancy.migration_ledger where tenant_id = 't0006'")
  await t.rejects(
    manager.migrate(),
    { message: /tenant st0006 failed: the tenant's schema is missing/ },
    'a schema that is missing is no deletion'
  )
})

t.test('a tenant that another manager holds is tried last and only then a failure', async t => {
  const { another, write, schemas, superUrl } = await migrations(t)
  await schemas(4)
  write('tenant', '001_notes', notes)
  const other = await connect(t, superUrl)
  const lock = "select tenancy.take_lock('tenancy tenant t0001', 1)"
  await other.query(lock)
  const steps: string[] = []
  let unlocked: Promise<unknown> | undefined
  const manager = another({
    progress ({ tenant, step }) {
      if (tenant === undefined) return
      steps.push(`${tenant} ${step}`)
      if (tenant === 't0004') unlocked = other.query("select tenancy.give_lock('tenancy tenant t0001', 1)")
    }
  })
  t.match(await manager.migrate({ jobs: 1, retries: 1 }), { tenants: { migrated: 4, failed: 0 } })
  await unlocked
  t.same(steps, ['t0001 postponed', 't0002 migrated', 't0003 migrated', 't0004 migrated', 't0001 migrated'])
  write('tenant', '002_color', color)
  await other.query(lock)
  t.match(await failure(another().migrate({ retries: 0 })), {
    report: {
      tenants: { migrated: 3, failed: 1 },
      failures: [{
        tenant: 't0001',
        error: { code: 'FST_TENANCY_TENANT_CONFLICT', message: /another process is at work/ }
      }]
    }
  })
})

t.test('MIG-08 a migration changed, renamed or removed after its run is refused before any runs', async t => {
  const { manager, write, schemas, admin, another } = await migrations(t)
  await schemas(3)
  const first = write('tenant', '001_notes', notes)
  await manager.migrate()
  write('tenant', '002_color', color)
  write('tenant', '001_notes', `${notes} // and more`)
  await t.rejects(manager.migrate(), {
    code: 'FST_TENANCY_MIGRATION_INVALID',
    message: /^migration '001_notes' was changed after it had run.*tenant 'st0001' and 2 more/
  })
  await t.rejects(another().migrate({ only: { id: 't0002' } }), { code: 'FST_TENANCY_MIGRATION_INVALID' })
  t.match((await manager.status()).tenants[0], { problem: /was changed/, pending: { length: 0 } })
  write('tenant', '001_notes', notes)
  write('tenant', '000_before', notes)
  await t.rejects(manager.migrate(), {
    message: /'000_before' has not run, but sorts before '001_notes', which has run: give it a later name/
  })
  rmSync(first.replace('001_notes', '000_before'))
  rmSync(first)
  await t.rejects(manager.migrate(), {
    message: /'001_notes' has run, but its file is missing: restore the file/
  })
  t.same(await admin('select count(*)::int as n from tenancy.migration_ledger'), [{ n: 3 }])
  write('tenant', '001_notes', notes)
  t.match(await manager.migrate(), { tenants: { migrated: 3 } })
  // A process older than the schema, as in a rolling deployment. It keeps working and creates
  // tenants at its own version.
  rmSync(first.replace('001_notes', '002_color'))
  t.match(await manager.migrate(), { tenants: { current: 3 } })
  t.match((await manager.status()).tenants[0], {
    version: '002_color',
    ahead: ['002_color'],
    isBehind: false
  })
})

t.test('MIG-10 eight workers are at most eight connections, and the budget bounds them', async t => {
  const { another, options, write, schemas, superUrl } = await migrations(t)
  await schemas(60)
  write('tenant', '001_notes', `await sql\`select pg_sleep(0.01)\`.execute(db); ${notes}`)
  const watcher = await connect(t, superUrl)
  const count = async (): Promise<number> =>
    (await watcher.query(
      'select count(*)::int as n from pg_stat_activity where datname = current_database() ' +
        "and pid <> pg_backend_pid() and application_name <> 'watcher'"
    )).rows[0].n
  const before = await count()
  for (const [budget, name] of [[100, '001_notes'], [6, '002_more']] as const) {
    write(
      'tenant',
      name,
      `await sql\`select pg_sleep(0.01)\`.execute(db); await sql\`create table "${name}x" ()\`.execute(db)`
    )
    const workers = new Set<number>()
    let most = 0
    const ended = new AbortController()
    const database = options.database as { url: string; ownerUrl: string }
    const manager = another({
      database: { ...database, budget },
      progress: ({ worker }) => {
        if (worker !== undefined) workers.add(worker)
      }
    })
    const watching = (async () => {
      while (!ended.signal.aborted) most = Math.max(most, await count() - before)
    })()
    t.match(await manager.migrate({ jobs: 8 }), { tenants: { migrated: 60 } })
    ended.abort()
    await watching
    t.ok(most <= Math.min(8 + 3, budget), `${most} connections of a budget of ${budget}`)
    t.ok(most >= Math.min(8, budget - 3), `${most} connections: all workers had one`)
    t.equal(workers.size, Math.min(8, budget - 3))
  }
})

t.test("MIG-12 migrations run as the owner; the application's login cannot change the schema", async t => {
  const { manager, write, url, owner, admin, superUrl } = await migrations(t, {
    tables: { tenant: ['things'] }
  })
  write(
    'shared',
    '001_things',
    'await sql`create table things (tenant_id text not null, who text default current_user)`.execute(db)'
  )
  write('tenant', '001_notes', notes)
  await manager.migrate()
  await manager.create({ slug: 'acme', id: 'acme_1' })
  t.same(
    await admin(
      'select schemaname as schema, tableowner as owner from pg_tables ' +
        "where tablename in ('things', 'notes') order by 1"
    ),
    [
      { schema: 'public', owner },
      { schema: 'tenant_acme_1', owner }
    ]
  )
  const app = await connect(t, url)
  const role = tenantRole('acme_1', databaseOf(superUrl))
  for (const set of ['select 1', `set role "${role}"`]) {
    await app.query(set)
    for (
      const ddl of ['create table tenant_acme_1.x ()', 'alter table tenant_acme_1.notes add x int',
        'drop table public.things', 'create table public.x ()', 'create schema x',
        'delete from tenancy.migration_ledger',
        "select tenancy.claim_migrations('a', 'public', false, 0, null, false)",
        "select tenancy.record_migration('a', 'a', 'a')"]
    ) {
      await t.rejects(app.query(ddl), { code: '42501' }, `${set}: ${ddl}`)
    }
  }
})

t.test('MIG-13 a check fails for a migration that leaves a tenant table without a policy', async t => {
  const { manager, another, write, admin } = await migrations(t, {
    isolation: 'rls',
    tables: { tenant: ['projects'], shared: ['countries'] }
  })
  write(
    'shared',
    '001_projects',
    'await sql`create table projects (tenant_id text not null, id int, primary key (tenant_id, id)); ' +
      'create table countries (code text)`.execute(db)'
  )
  t.match(await manager.migrate({ check: true }), {
    shared: [{ applied: ['001_projects'], unlisted: { length: 0 }, unprotected: { length: 0 } }]
  })
  t.same(await admin("select tablename from pg_tables where schemaname = 'public'"), [], 'all was taken back')
  await manager.migrate()
  t.same(
    await admin("select relname, relforcerowsecurity as forced from pg_class where relname = 'projects'"),
    [{ relname: 'projects', forced: true }],
    'protected by the run itself'
  )
  write(
    'shared',
    '002_tasks',
    'await sql`create table tasks (tenant_id text not null, project int, foreign key (tenant_id, ' +
      'project) references projects); create table logs (line text)`.execute(db)'
  )
  t.match(await failure(manager.migrate({ check: true })), {
    code: 'FST_TENANCY_MIGRATION_FAILED',
    message: /'tasks' without a policy: list the tables in options\.tables\.tenant/,
    report: { shared: [{ unlisted: ['logs', 'tasks'], unprotected: ['tasks'] }] }
  })
  t.match(
    await manager.migrate(),
    { shared: [{ unprotected: ['tasks'] }] },
    'a run reports it, and no login may read the table'
  )
  t.same(
    await admin(
      "select grantee from information_schema.role_table_grants where table_name = 'tasks' " +
        "and grantee like 'tenancy_app%'"
    ),
    []
  )
  await t.rejects(manager.migrate({ check: true }), { message: /'tasks'/ }, 'also when nothing is pending')
  const mended = another({ tables: { tenant: ['projects', 'tasks'], shared: ['countries'] } })
  await mended.protect()
  t.match(await mended.migrate({ check: true }), {
    shared: [{ applied: { length: 0 }, unlisted: ['logs'], unprotected: { length: 0 } }]
  })
  write('shared', '003_hole', 'await sql`create policy hole on projects using (true)`.execute(db)')
  await t.rejects(mended.migrate(), { message: /other policies \(hole\)/ })
  t.same(await admin("select polname from pg_policy where polname = 'hole'"), [], 'nothing of it stays')
})
