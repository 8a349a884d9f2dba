// Which changes a move copies, how, and which logins can see them.
import t from 'tap'

import { ask, connect, loginUrl } from '../support/sql.ts'
import { elsewhere } from '../support/standstill.ts'
import { until } from '../support/until.ts'
import { managerFixture } from './manager-fixture.ts'
import { movingTenant, rows, traces } from './moving-tenant-fixture.ts'
import { fill } from './change-workload.ts'

t.jobs = 2

t.test(
  'control: a change missing from the log is not copied, and the row count reveals it',
  { buffered: true },
  async t => {
    const { on, id, place, move } = await movingTenant(t)
    await on.manager.create({ slug: 'acme', id })
    const source = place('rls')
    await ask(source.url, fill(source))
    const update = `update authors set name = 'changed' where email = '2@example.com'; ` +
      `update posts set title = 'changed' where title = 'post 1'`
    await move(
      { isolation: 'schema' },
      source,
      step => step === 'catch-up' ? `${update}; delete from tenancy.move_changes` : undefined
    )
    const [was, now] = [await rows(source), await rows(place('schema'))]
    t.equal(
      was.filter(({ row }) => String(row).includes('changed')).length,
      2
    )
    t.equal(now.filter(({ row }) => String(row).includes('changed')).length, 0, 'the test can fail')
    await on.manager.confirmMove({ id })
    await move({ isolation: 'rls' }, place('schema'), step =>
      step === 'catch-up'
        ? `delete from "tenant_${id}".posts where title = 'post 3'; delete from tenancy.move_changes`
        : undefined)
    t.same(
      await rows(place('rls')),
      await rows(place('schema')),
      'then all is copied again, within the pause'
    )
    await on.manager.confirmMove({ id })
    await t.rejects(
      move({ isolation: 'schema' }, source, step =>
        step === 'catch-up'
          ? "alter table posts disable trigger user; update posts set slot = 999 where title = 'post 4'"
          : undefined),
      { code: 'FST_TENANCY_MOVE_FAILED', message: /triggers .* are incomplete/ }
    )
    t.match(await on.manager.get({ id }), { isolation: 'rls', status: 'active' })
    t.same(await on.admin(traces), [])
  }
)

t.test(
  'unique values that swap and a table that is emptied at the last moment are copied',
  { buffered: true },
  async t => {
    const { on, id, place, move } = await movingTenant(t)
    await on.manager.create({ slug: 'acme', id })
    const source = place('rls')
    await ask(source.url, fill(source))
    const swap = `
    update authors set email = '-' where email = '3@example.com'; update authors set email = '3@example.com'
      where email = '4@example.com'; update authors set email = '4@example.com' where email = '-';
    update posts set slot = -1 where slot = 5; update posts set slot = 5 where slot = 6;
    update posts set slot = 6 where slot = -1`
    await move({ isolation: 'schema' }, source, step => step === 'catch-up' ? swap : undefined)
    t.same(await rows(place('schema')), await rows(source))
    await on.manager.confirmMove({ id })
    await move({ isolation: 'rls' }, place('schema'), step =>
      step === 'snapshot'
        ? `truncate "tenant_${id}".authors, "tenant_${id}".posts, "tenant_${id}".events; ` +
          `insert into "tenant_${id}".authors (id, email) values (md5('x')::uuid, 'x')`
        : undefined)
    t.same(await rows(source), await rows(place('schema')))
    t.equal(
      (await rows(source)).filter(({ table }) => table === 'authors').length,
      1
    )
  }
)

const family = (isShared: boolean): string => `
  create table parents (${isShared ? 'tenant_id text not null, ' : ''}id int primary key, name text);
  create table children (id int primary key, parent int not null references parents on delete cascade,
    name text)`

t.test("a table that gets its tenant through its parents moves without other tenants' rows", {
  buffered: true
}, async t => {
  const id = 'acme-1'
  const on = await managerFixture(t, {
    build: family,
    tables: { tenant: ['parents', 'children'], shared: ['countries'] }
  })
  const other = elsewhere(t)
  await on.manager.create({ slug: 'acme', id })
  await on.manager.create({ slug: 'globex', id: 'globex-1' })
  await on.admin(
    "insert into parents select case when g % 2 = 0 then 'acme-1' else 'globex-1' end, g " +
      'from generate_series(1, 10) g; insert into children select g, g % 10 + 1 ' +
      'from generate_series(1, 50) g'
  )
  const write =
    "update children set name = 'changed' where id < 20; delete from parents where id in (3, 4); " +
    'insert into children values (99, 2), (98, 1); update children set parent = 5 where id = 1; ' +
    'update children set parent = 6 where id = 4'
  await on.another({
    progress: ({ step }) => {
      if (step === 'snapshot') other.run(on.superUrl, write)
    }
  }).move({ id }, { isolation: 'schema' })
  t.same(
    await on.admin('select id, parent, name from "tenant_acme-1".children order by 1'),
    await on.admin(
      'select c.id, parent, c.name from children c join parents p on p.id = parent where tenant_id = $1 ' +
        'order by 1',
      [id]
    )
  )
  t.same(
    await on.admin('select id from "tenant_acme-1".parents order by 1'),
    [2, 6, 8, 10].map(id => ({ id }))
  )
})

t.test(
  'a move waits for open writers with bounded locks and hides its log from the application',
  { buffered: true },
  async t => {
    const { on, id, place, move } = await movingTenant(t)
    await on.manager.create({ slug: 'acme', id })
    const source = place('rls')
    await ask(source.url, fill(source))
    const writer = await connect(t, on.superUrl)
    await writer.query('begin')
    await writer.query("update posts set title = 'late' where title = 'post 9' and tenant_id = $1", [id])
    const late = await connect(t, on.superUrl)
    await late.query('begin isolation level repeatable read; select count(*) from posts')
    const app = await connect(t, loginUrl(on.superUrl, 'app'))
    const [role] = await on.admin<{ name: string }>(
      "select rolname as name from pg_roles where rolname like 'tenancy_app_%' and rolname like '%' || " +
        'substr(md5(current_database()), 1, 8)'
    )
    const refused: string[] = []
    const moving = move({ isolation: 'schema' }, source, step => step === 'capture' ? `select 1` : undefined)
    await until(async () =>
      (await on.admin("select from pg_locks where not granted and mode = 'ShareRowExclusiveLock'")).length > 0
    )
    await writer.query('commit')
    // This transaction began before the triggers existed and writes after that.
    await until(async () =>
      (await on.admin(
        "select from pg_trigger where tgname like 'tenancy_move_%' and tgrelid = 'ticks'::regclass"
      )).length === 4
    )
    await late.query("update settings set value = 'late' where key = 'null' and tenant_id = $1", [id])
    for (
      const sql of ['select * from tenancy.move_changes',
        "insert into tenancy.move_changes (tenant_id, table_name) values ('x', 'y')",
        'delete from tenancy.move_changes', 'select tenancy.record_change()']
    ) {
      await app.query(`begin; set local role "${role?.name}"`)
      await app.query(sql).catch((error: { code: string }) => refused.push(error.code))
      await app.query('rollback')
    }
    await late.query('commit')
    await moving
    t.same(refused, ['42501', '42501', '42501', '42501'])
    const now = await rows(place('schema'))
    t.same(now, await rows(source))
    t.equal(now.filter(({ row }) => String(row).includes('late')).length, 2)
  }
)

t.test(
  'a tenant with prepared transactions on its tables is not moved, and stays served',
  { buffered: true },
  async t => {
    const { on, id, place } = await movingTenant(t)
    await on.manager.create({ slug: 'acme', id })
    const source = place('rls')
    await ask(source.url, fill(source))
    const session = await connect(t, on.superUrl)
    await session.query('begin')
    await session.query("update settings set value = 'prepared' where key = 'null' and tenant_id = $1", [id])
    await session.query(`prepare transaction '${id}'`)
    t.teardown(() => ask(on.superUrl, `rollback prepared '${id}'`).catch(() => {}))
    const hasty = on.another({ lifecycle: { wait: '1ms' } })
    await t.rejects(hasty.move({ id }, { isolation: 'schema' }), {
      code: 'FST_TENANCY_TENANT_CONFLICT',
      message: new RegExp(
        `the prepared '${id}' may hold it: commit prepared or rollback prepared, then call again`
      )
    })
    t.same(await on.admin(`select 'a lockout' from tenancy.lockouts union all ${traces}`), [])
    await on.admin(`commit prepared '${id}'`)
    await on.manager.move({ id }, { isolation: 'schema' })
    t.same(await rows(place('schema')), await rows(source))
    t.equal((await rows(source)).filter(({ row }) => String(row).includes('prepared')).length, 1)
  }
)
