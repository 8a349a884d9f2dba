// Where each migration starts, what a lost connection leaves, and how a ledger is read that others
// wrote to.
import { sql, type Kysely } from 'kysely'
import type { Migration, MigrationProvider } from 'kysely/migration'
import t from 'tap'

import { failure, migrations } from '../support/migrations.ts'
import { connect, databaseOf, loginUrl } from '../support/sql.ts'
import { unique, managerFixture } from './manager-fixture.ts'

const provider = (files: Record<string, (db: Kysely<unknown>) => Promise<unknown>>): MigrationProvider => ({
  getMigrations: async () =>
    Object.fromEntries(
      Object.entries(files).map(([name, up]) => [name, {
        up: async db => {
          await up(db)
        }
      } satisfies Migration])
    )
})
const run = (text: string) => async (db: Kysely<unknown>): Promise<unknown> => sql.raw(text).execute(db)

const look = (name: string): (db: Kysely<unknown>) => Promise<unknown> =>
  run(`create table "${name}" as select current_user::text as role, current_setting('search_path') as path,
  current_setting('lock_timeout') as wait, current_setting('row_security') as secure,
    '${name}'::text as name`)

const leaves = {
  'a path': 'set search_path = public',
  'a local path': 'set local search_path = public',
  'a path by function': "select set_config('search_path', 'public', false)",
  'a role': 'set role none',
  'another role': 'set role OTHER',
  'a local role': 'set local role none',
  'a setting': "set lock_timeout = '1ms'",
  'a row_security': 'set row_security = off'
}
for (const isolation of ['schema', 'database', 'shared'] as const) {
  t.test(
    `DAT-05 ${isolation}: a migration that leaves a path, a role or a setting does not move the next one`,
    { buffered: true },
    async t => {
      const on = await managerFixture(t)
      const other = `other_${databaseOf(on.superUrl)}`
      await on.admin(
        `create role ${other}; grant ${other} to "${new URL(loginUrl(on.superUrl, 'owner')).username}"`
      )
      t.teardown(async () => {
        await connect(t, on.superUrl.replace(/\/[^/]*$/, '/postgres')).then(client =>
          client.query(`drop role if exists ${other}`)
        )
      })
      const files = Object.entries(leaves).flatMap(([name, text], index) =>
        [[`${index}a`, run(text.replace('OTHER', other))], [`${index}b`, look(name)]] as const
      )
      const set = provider({ '000': look('first'), ...Object.fromEntries(files) })
      const id = unique(on, 'a')
      if (isolation === 'shared') await on.another({ migrations: { shared: set } }).migrate()
      else await on.another({ migrations: { tenant: set } }).create({ slug: 'acme', id, isolation })
      const client = await connect(
        t,
        isolation === 'database' ? on.superUrl.replace(/\/[^/]*$/, `/tenant_${id}`) : on.superUrl
      )
      const schema = isolation === 'schema' ? `"tenant_${id}"` : 'public'
      const { rows: [first] } = await client.query<{ name: string }>(`select * from ${schema}.first`)
      for (const name of Object.keys(leaves))
        t.match((await client.query(`select * from ${schema}."${name}"`)).rows, [{ ...first, name }], name)
      await client.end()
    }
  )
}

t.test('a migration whose backend is ended is retried on a new connection, as the ledger says', async t => {
  const world = await migrations(t)
  const { admin, schemas, another } = world
  await schemas(2)
  let deaths = 0
  const set = provider({
    '001_notes': run('create table notes (n int)'),
    '002_rows': async db => {
      await run('insert into notes values (1)')(db)
      if (deaths++ >= 2) return
      const { rows: [row] } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db)
      await admin('select pg_terminate_backend($1)', [row?.pid])
      await run('select 1')(db)
    }
  })
  t.match((await another({ migrations: { tenant: set } }).migrate({ jobs: 1 })).tenants, {
    migrated: 2,
    failed: 0
  })
  t.equal(deaths, 4, 'two attempts were cut short')
  for (const schema of ['tenant_t0001', 'tenant_t0002'])
    t.same(await admin(`select n from ${schema}.notes`), [{ n: 1 }], 'each ran once')
})

t.test(
  "status shows a tenant's own database whose ledger was changed or cannot be read",
  { buffered: true },
  async t => {
    const on = await managerFixture(t)
    const id = unique(on, 'a')
    const set = provider({ '001': run('select 1'), '002': run('select 2') })
    const manager = on.another({ migrations: { tenant: set } })
    await manager.create({ slug: 'acme', id, isolation: 'database' })
    t.match((await manager.status()).tenants, [{ version: '002', isBehind: false, problem: undefined }])
    const own = await connect(t, on.superUrl.replace(/\/[^/]*$/, `/tenant_${id}`))
    await own.query("update tenancy.migration_ledger set checksum = 'another' where name = '001'")
    const [standing] = (await manager.status()).tenants
    const error = await failure(manager.migrate()) as Error
    t.match(standing?.problem, /migration '001' was changed after it had run/)
    t.match(error.message, standing?.problem)
    await own.query('delete from tenancy.migration_ledger')
    t.match((await manager.status()).tenants, [{
      version: undefined,
      isBehind: true,
      pending: ['001', '002']
    }])
    await own.end()
    await on.admin(`alter database "tenant_${id}" rename to "tenant_${id}_gone"`)
    t.match((await manager.status()).tenants, [{
      version: '002',
      problem: /its database cannot be read .*this state is from the last run/
    }])
    await on.admin(`alter database "tenant_${id}_gone" rename to "tenant_${id}"`)
  }
)

t.test('a failed move keeps the ledger of the placement where the tenant is', {
  buffered: true
}, async t => {
  const on = await managerFixture(t)
  const id = unique(on, 'a')
  const old = provider({ '001': run('create table notes (n int)') })
  const more = provider({
    '001': run('create table notes (n int)'),
    '002': run('alter table notes add more int')
  })
  for (const [from, to] of [['schema', 'database'], ['database', 'schema']] as const) {
    const tenant = unique(on, from)
    await on.another({ provision: async () => {}, migrations: { tenant: old } }).create({
      slug: from,
      id: tenant,
      isolation: from
    })
    const manager = on.another({ provision: async () => {}, migrations: { tenant: more } })
    const before = (await manager.status()).tenants.find(({ slug }) => slug === from)
    t.match(before, { version: '001', pending: ['002'] })
    await t.rejects(manager.move({ id: tenant }, { isolation: to }), {
      code: 'FST_TENANCY_MOVE_FAILED',
      message: /'more'/
    }, 'the new home is at the newest migration, the old one is not')
    t.match((await manager.status()).tenants.find(({ slug }) => slug === from), before)
    t.match(
      await manager.migrate({ only: { id: tenant } }),
      { tenants: { migrated: 1 } },
      'and goes on from there'
    )
    t.match(await manager.move({ id: tenant }, { isolation: to }), { isolation: to })
    t.match((await manager.status()).tenants.find(({ slug }) => slug === from), {
      version: '002',
      pending: { length: 0 }
    })
  }
  t.ok(id)
})

t.test('a schema tenancy of a newer version refuses every call and the boot of nothing else', {
  buffered: true
}, async t => {
  const on = await managerFixture(t)
  await on.manager.create({ slug: 'acme', id: 'acme-1' })
  await on.admin("comment on schema tenancy is 'fastify-tenancy 999'")
  const refused = {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: new RegExp(
      'schema tenancy of this database is of version 999, and this version of the suite knows ' +
        String.raw`\d+: use the newer version`
    )
  }
  const set = { migrations: { shared: provider({}) } }
  const calls: readonly ((manager: ReturnType<typeof on.another>) => Promise<unknown>)[] = [
    manager => manager.init({ url: on.superUrl }),
    manager => manager.protect(),
    manager => manager.create({ slug: 'globex' }),
    manager => manager.suspend({ slug: 'acme' }),
    manager => manager.delete({ slug: 'acme' }),
    manager => manager.purgeDue(),
    manager => manager.migrate(),
    manager => manager.status(),
    manager => manager.move({ slug: 'acme' }, { isolation: 'schema' }),
    manager => manager.get({ slug: 'acme' }),
    manager => manager.doctor(),
    manager => manager.domains.reverify(),
    manager => manager.export({ slug: 'acme' }, { to: '/nowhere' }),
    async manager => {
      for await (const _ of manager.list());
    }
  ]
  for (const call of calls) await t.rejects(call(on.another(set)), refused, call.toString())
  t.match(await on.admin('select status from tenancy.tenants'), [{ status: 'active' }])
})

t.test(
  "runs of kysely-ctl count in shared tables and are refused by name in a tenant's own",
  { buffered: true },
  async t => {
    const on = await managerFixture(t)
    const id = unique(on, 'a')
    const owner = loginUrl(on.superUrl, 'owner')
    const history =
      'create table kysely_migration (name varchar(255) primary key, "timestamp" varchar(255) not null)'
    const shared = {
      '001': run('create table one (n int)'),
      '002': run('create table two (n int)'),
      '003': run('create table three (n int)')
    }
    const { '003': _, ...earlier } = shared
    await on.another({ migrations: { shared: provider({ '001': shared['001'] }) } }).migrate()
    const client = await connect(t, owner)
    await client.query(
      `${history}; insert into kysely_migration values ('001', '2026-01-01T00:00:00Z'), ` +
        `('002', '2026-11-01T00:00:00Z'); create table two (n int)`
    )
    t.match((await on.another({ migrations: { shared: provider(shared) } }).migrate()).shared, [{
      applied: ['003']
    }])
    t.same(await on.admin("select name from tenancy.migration_ledger where tenant_id = '' order by 1"), [{
      name: '001'
    }, { name: '002' }, { name: '003' }])
    t.ok(earlier)
    for (const isolation of ['schema', 'database'] as const) {
      const tenant = unique(on, isolation)
      await on.another({
        provision: async () => {},
        migrations: { tenant: provider({ '001': shared['001'] }) }
      }).create({ slug: isolation, id: tenant, isolation })
      const there = await connect(
        t,
        isolation === 'database' ? owner.replace(/\/[^/]*$/, `/tenant_${tenant}`) : owner
      )
      await there.query(
        `${
          isolation === 'schema' ? `set search_path = "tenant_${tenant}";` : ''
        } ${history}; insert into kysely_migration values ('002', '2026-11-01T00:00:00Z')`
      )
      const manager = on.another({ provision: async () => {}, migrations: { tenant: provider(shared) } })
      const error = await failure(manager.migrate({ only: { id: tenant } })) as Error
      t.match(
        error.message,
        new RegExp(
          "kysely-ctl has run migration '002' of this tenant, but the ledger has no entry for " +
            String.raw`it: .*insert into tenancy\.migration_ledger`
        ),
        isolation
      )
      await there.query('delete from kysely_migration')
      t.match((await manager.migrate({ only: { id: tenant } })).tenants, { migrated: 1 })
      await there.end()
    }
    t.ok(id)
  }
)

t.test('only the prune command changes the audit, and the doctor names roles that could', {
  buffered: true
}, async t => {
  const on = await managerFixture(t)
  await on.manager.create({ slug: 'acme', id: 'acme-1' })
  const owner = await connect(t, loginUrl(on.superUrl, 'owner'))
  for (
    const text of ["update tenancy.audit set actor = 'nobody'", 'delete from tenancy.audit',
      'truncate tenancy.audit', 'set session_replication_role = replica; delete from tenancy.audit']
  ) {
    const client = text.startsWith('set') ? await connect(t, on.superUrl) : owner
    await t.rejects(client.query(text), {
      code: 'TN403',
      message: /tenancy\.audit is kept as it was written/
    }, text)
  }
  await on.admin(
    "insert into tenancy.audit (at, tenant_id, action) values (now() - interval '40 days', 'acme-1', 'old')"
  )
  t.equal(await on.manager.pruneAudit({ olderThan: '30d' }), 1)
  t.match(await on.admin('select tenant_id, action, details from tenancy.audit order by id'), [{
    action: 'create'
  }, { tenant_id: '', action: 'audit-prune', details: { removed: 1 } }])
  await t.rejects(on.manager.pruneAudit({ olderThan: 'all' }), { code: 'FST_TENANCY_OPTION_INVALID' })
  const found = async (): Promise<unknown[]> =>
    (await on.manager.doctor()).findings.filter(({ id }) => id === 'D517')
  t.same(await found(), [])
  const app = new URL(loginUrl(on.superUrl, 'app')).username
  await on.admin(
    `grant delete, update on tenancy.audit to "${app}"; alter table tenancy.audit disable trigger keep_audit`
  )
  const findings = await found() as { object: string; meaning: string; fix: string }[]
  t.match(findings, [{ object: `role ${app}`, meaning: /delete, update/ }, { object: 'table tenancy.audit' }])
  for (const { fix } of findings) await on.admin(fix)
  t.same(await found(), [])
})
