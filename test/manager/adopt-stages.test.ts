// Adoption of a database that has data from before it had tenants: from the tenant columns to
// policies for all logins.
import { createManager } from '@fastify-tenancy/manager'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import t from 'tap'

import { dumpCatalog } from '../postgres/catalog.ts'
import { keepOthersOut } from '../support/keep-others-out.ts'
import { migrate } from '../support/migrate.ts'
import { runScript } from '../support/script.ts'
import { asTenant, connect, loginOf, loginUrl } from '../support/sql.ts'
import { acme, backfill, globex, none, old, tables, work, wrong, type Old } from './legacy-fixture.ts'

function nameless (dump: string, { legacy }: Pick<Old, 'legacy'>): string {
  return dump.replaceAll(loginOf(legacy).user, 'LEGACY').replaceAll(/login_(\w+)_[0-9a-f]{8}/g, 'login_$1')
}

t.test('observe binds new code to its tenant but not old code, which enforce ends', async t => {
  const { admin, url, legacy, manager, progress } = await old(t)
  const { user } = loginOf(legacy)
  await t.rejects(manager.protect({ stage: 'observe' }), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /'projects' has no tenant column: run `tenancy protect projects --stage prepare`/
  })
  t.same(await manager.observed(), [], 'and nothing was changed')
  await t.rejects(manager.protect(), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /table "public"\."\w+" is still worked on by 'login_legacy_\w+': take it over in stages/
  }, 'not in passing')
  await manager.protect({ stage: 'prepare' })
  await admin.query(
    `create role "${loginOf(loginUrl(url, 'reports')).user}"; grant select on tasks to "${
      loginOf(loginUrl(url, 'reports')).user
    }"`
  )
  await t.rejects(manager.protect({ stage: 'observe' }), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /login_reports_\w+ would lose table "public"\."tasks": name each in options\.adoption\.legacy/
  })
  await admin.query(
    `revoke all on tasks from "${loginOf(loginUrl(url, 'reports')).user}"; grant select on users to public`
  )
  await t.rejects(manager.protect({ stage: 'observe' }), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /PUBLIC has privileges on table "public"\."users"/
  })
  await admin.query(
    `revoke all on users from public; alter role "${
      loginOf(loginUrl(url, 'reports')).user
    }" login; grant pg_read_all_data to "${loginOf(loginUrl(url, 'reports')).user}"`
  )
  await keepOthersOut(admin, url, loginOf(loginUrl(url, 'reports')).user)
  await t.rejects(manager.protect({ stage: 'observe' }), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /login_reports_\w+ would lose table/
  }, 'who reads every table would read none')
  await admin.query(`revoke pg_read_all_data from "${loginOf(loginUrl(url, 'reports')).user}"`)

  const code = await work(legacy)
  const rounds = progress.length
  await manager.protect({ stage: 'observe' })
  await manager.protect({ stage: 'observe' })
  await manager.protect() // as after any migration: tables under observation stay under observation
  t.ok(progress.length > rounds)
  t.same(
    await manager.observed(),
    Object.keys(tables.tenant).toSorted().map(table => ({
      shard: 'default',
      table,
      legacy: { [user]: '2999-12-31' }
    }))
  )
  await asTenant(admin, acme, async () => {
    t.same((await admin.query('select count(*)::int as n from organizations')).rows, [{ n: 1 }])
    t.same((await admin.query('select distinct tenant_id from tasks')).rows, [{ tenant_id: acme }])
    t.same(
      (await admin.query(
        "insert into tasks (project_id, title) values (1, 'by new code') returning tenant_id"
      )).rows,
      [{ tenant_id: acme }]
    )
    await t.rejects(
      admin.query("insert into tasks (project_id, title, tenant_id) values (2, 'x', $1)", [globex]),
      { code: '42501' }
    )
  })
  t.same(
    (await admin.query(
      'select count(distinct tenant_id)::int as n, (select relowner::regrole::text from pg_class ' +
        "where relname = 'tasks') as owner from tasks"
    )).rows,
    [{ n: 2, owner: user }]
  )
  const observedRun = await code.stop()
  t.same(observedRun.errors, [], 'old code met no error')

  await t.rejects(manager.protect({ stage: 'enforce' }), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /is still worked on by 'login_legacy_\w+' until 2999-12-31: wait, or run the command with --yes/
  })
  await manager.protect({ stage: 'enforce', only: ['tasks'], force: true })
  const client = await connect(t, legacy)
  await t.rejects(client.query('select from tasks'), { code: '42501' })
  // The old login still reaches the other tables and the rows without a tenant.
  await client.query(
    "insert into projects (user_id, name) values (1, 'old'); insert into accounts (name) " +
      "values ('old'); insert into countries values ('NL')"
  )
  t.equal((await manager.observed()).length, 5)

  // In this manager's options the last day of the observation has passed.
  const late = createManager({
    database: { url: loginUrl(url, 'app'), ownerUrl: url },
    tables: { ...tables, shared: ['countries'], global: ['accounts'] },
    adoption: { backfill, legacy: { [user]: '2020-01-01' } }
  })
  t.teardown(() => late.close())
  await t.rejects(
    late.protect({ stage: 'enforce' }),
    { code: 'FST_TENANCY_SETUP_INVALID' },
    'what was said when it began holds'
  )
  await late.protect({
    stage: 'observe',
    only: Object.keys(tables.tenant).filter(table => table !== 'tasks')
  })
  await late.protect({ stage: 'enforce' })
  t.same(await manager.observed(), [])
  for (const table of [...Object.keys(tables.tenant), 'accounts', 'countries'])
    await t.rejects(client.query(`select from ${table}`), { code: '42501' }, table)
  await t.rejects(client.query("select nextval('tasks_id_seq')"), { code: '42501' })
  t.same(
    (await admin.query(
      "select tgname from pg_trigger where tgname like 'tenancy%' and tgrelid::regclass::text not like " +
        "'tenancy.%'"
    )).rows,
    []
  )
  await t.rejects(manager.protect({ stage: 'observe' }), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /enforced already/
  })
  await admin.query(`set role "${rolesOf(new URL(url).pathname.slice(1)).owner}"`)
  for (const table of Object.keys(tables.tenant))
    t.ok(
      (await admin.query(
        `update ${table} set tenant_id = tenant_id where false; select from ${table}`.replaceAll(
          /tenant_id/g,
          tables.tenant[table as keyof typeof tables.tenant]
        )
      )) !== undefined,
      `${table} is the owner's`
    )
  await admin.query('reset role')
  await asTenant(
    admin,
    globex,
    async () =>
      t.same((await admin.query('select distinct tenant_id from tasks')).rows, [{ tenant_id: globex }])
  )

  await t.test('the tables are as if they had never had another owner', async t => {
    const twin = await old(t)
    await twin.manager.protect({ stage: 'prepare' })
    await twin.admin.query(
      'drop trigger tenancy_fill on projects; drop trigger tenancy_fill on tasks; ' +
        'drop trigger tenancy_fill on events; drop trigger tenancy_fill on settings; ' +
        'drop trigger tenancy_refill on projects; drop trigger tenancy_refill on tasks'
    )
    const plain = createManager({
      database: { url: loginUrl(twin.url, 'app'), ownerUrl: twin.url },
      tables: { ...tables, shared: ['countries'], global: ['accounts'] }
    })
    t.teardown(() => plain.close())
    await plain.protect()
    await twin.admin.query(`revoke all on schema public from "${loginOf(twin.legacy).user}"`)
    await admin.query(`revoke all on schema public from "${user}"`)
    t.equal(nameless(await dumpCatalog(admin), { legacy }), nameless(await dumpCatalog(twin.admin), twin))
  })
})

t.test("a login that made the roles and is a member of the tables' owner needs no superuser", async t => {
  const { admin, url, legacy } = await old(t)
  const { user } = loginOf(legacy)
  const dba = loginUrl(url, 'dba')
  await admin.query(
    `create role "${loginOf(dba).user}" login createrole password '${
      loginOf(dba).password
    }'; alter database ${new URL(url).pathname.slice(1)} owner to "${
      loginOf(dba).user
    }"; drop schema tenancy cascade`
  )
  for (const role of Object.values(rolesOf(new URL(url).pathname.slice(1))))
    await admin.query(`drop owned by "${role}"; drop role "${role}"`)
  const manager = createManager({
    database: dba,
    tables,
    adoption: { backfill, legacy: { [user]: '2020-01-01' } }
  })
  t.teardown(() => manager.close())
  await manager.init()
  await t.rejects(manager.protect({ stage: 'prepare' }), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /a member of their owner/
  })
  await admin.query(`grant "${user}" to "${loginOf(dba).user}"`)
  for (const stage of ['prepare', 'observe', 'enforce'] as const) await manager.protect({ stage })
  await manager.protect()
  t.same(
    (await admin.query(
      'select distinct relowner::regrole::text as owner from pg_class where relname = any($1)',
      [Object.keys(tables.tenant)]
    )).rows,
    [{ owner: rolesOf(new URL(url).pathname.slice(1)).owner }]
  )
  await t.rejects((await connect(t, legacy)).query('select from tasks'), { code: '42501' })
})

t.test('each stage can be printed and has the same effect in another tool', async t => {
  const [real, twin, third] = [await old(t), await old(t), await old(t)]
  const files: Record<string, string> = {}
  for (const stage of ['prepare', 'observe', 'enforce'] as const) {
    await real.manager.protect({ stage, force: true })
    const golden = nameless(await dumpCatalog(real.admin), real)

    const before = await dumpCatalog(twin.admin)
    const { scripts } = await twin.manager.protect({ stage, force: true, print: 'sql' })
    t.equal(await dumpCatalog(twin.admin), before, 'printing changes nothing')
    const code = stage === 'enforce' ? undefined : await work(twin.legacy)
    await runScript(twin.url, scripts.map(({ text }) => text).join('\n'))
    t.same((await code?.stop())?.errors ?? [], [])
    t.equal(nameless(await dumpCatalog(twin.admin), twin), golden, stage)
    t.same((await twin.admin.query(wrong)).rows, [none])

    const kysely = await third.manager.protect({ stage, force: true, print: 'kysely' })
    files[`${Object.keys(files).length}_${stage}.ts`] = kysely.scripts.map(({ text }) => text).join('')
    await t.rejects(
      migrate(t, third.url, files, stage !== 'prepare'),
      /run this migration/,
      'in the wrong mode it does not begin'
    )
    await migrate(t, third.url, files, stage === 'prepare')
    t.equal(nameless(await dumpCatalog(third.admin), third), golden, stage)
    t.same((await third.admin.query(wrong)).rows, [none])
  }
})
