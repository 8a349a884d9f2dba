// One tenant is restored from an export or from a restored copy of the database: in place, all or
// nothing.
import { createManager } from '@fastify-tenancy/manager'
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'

import { isLong } from '../support/long.ts'
import { connect, databaseOf } from '../support/sql.ts'
import { until } from '../support/until.ts'
import { idFor, type LifecycleStrategy } from './lifecycle-fixture.ts'
import { change, exportFolder, isOwn, onTenant, rowsOf, twoTenants } from './restore-fixture.ts'

const strategies: readonly LifecycleStrategy[] = ['rls', 'role', 'row', 'schema', 'database']

t.jobs = 3
for (const strategy of strategies) {
  t.test(`${strategy}: a tenant is restored in place`, { buffered: true }, async t => {
    const { world, acme, globex, folder, manager } = await twoTenants(t, strategy)

    await t.test(
      `DAT-18 ${strategy}: rows are restored, and equal rows and other tenants' are not written`,
      async t => {
        const [before, others] = [await rowsOf(t, world, acme), await rowsOf(t, world, globex)]
        await change(t, world, acme)
        t.notSame((await rowsOf(t, world, acme)).rows, before.rows, 'control: a day has changed the rows')
        const report = await manager.restore(acme, { from: folder })
        const after = await rowsOf(t, world, acme)
        t.same(after.rows, before.rows)
        t.match(report.rows, {
          projects: { added: 1, changed: 0, removed: 1 },
          tasks: { added: 1, changed: 0, removed: 1 }
        })
        t.equal(
          (after.written as Record<string, string>)['1'],
          (before.written as Record<string, string>)['1'],
          'an equal row stays untouched'
        )
        t.same(await rowsOf(t, world, globex), others)
        t.match(
          await manager.restore(acme, { from: folder }),
          { rows: {} },
          'a second restore changes nothing'
        )
        const audit = await world.admin(
          'select action, details from tenancy.audit where tenant_id = $1 and action = $2',
          [acme.id, 'restore']
        )
        t.match(audit, [{ details: { rows: { projects: { added: 1 } } } }, { details: { rows: {} } }])
      }
    )

    await t.test(
      `DAT-18 ${strategy}: the tenant is locked out until its rows are restored, and served afterwards`,
      async t => {
        await change(t, world, acme)
        const database = await world.open()
        const read = async (): Promise<number> =>
          (await world.handle(database, acme).selectFrom('projects').select('id').execute()).length
        t.equal(await read(), 2)
        let during: unknown
        const observed = world.another({
          progress: async ({ operation, step }) => {
            if (operation === 'restore' && step === 'wait')
              during = read().then(() => 'served', (error: { code: string }) => error.code)
          }
        })
        await observed.restore(acme, { from: folder })
        t.match(await during, /FST_TENANCY_TENANT_NOT_READY|FST_TENANCY_DATABASE_UNAVAILABLE/)
        t.equal(await until(() => read().catch(() => undefined)), 2)
      }
    )
  })
}

t.test('DAT-18 a foreign, incomplete or older source is refused, and nothing is changed', async t => {
  const { world, acme, globex, folder, manager } = await twoTenants(t, 'rls')
  await change(t, world, acme)
  const changed = await rowsOf(t, world, acme)
  const refuses = async (from: string, code: string, message: RegExp): Promise<void> => {
    await t.rejects(manager.restore(acme, { from }), { code, message })
    t.same(await rowsOf(t, world, acme), changed)
    t.same(await world.admin('select reason from tenancy.lockouts'), [], 'the tenant is served')
  }
  const other = exportFolder(t)
  await manager.export(globex, { to: other })
  await refuses(other, 'FST_TENANCY_RESTORE_REFUSED', /the export is of tenant 'globex'/)
  await refuses(join(folder, 'none'), 'FST_TENANCY_IMPORT_REFUSED', /cannot read manifest.json/)
  await world.admin('alter table tasks add column note text')
  await refuses(
    folder,
    'FST_TENANCY_RESTORE_REFUSED',
    /table 'tasks' has a column 'note' that the source lacks/
  )
  await world.admin('alter table tasks drop column note')
  await world.admin(
    'insert into tenancy.migration_ledger (tenant_id, name, checksum, applied_at) ' +
      `values ('', '1_notes', repeat('0', 64), now())`
  )
  await refuses(
    folder,
    'FST_TENANCY_RESTORE_REFUSED',
    /the source is at migration none and the tenant at 1_notes/
  )
  await world.admin('delete from tenancy.migration_ledger')
  await refuses(
    world.superUrl,
    'FST_TENANCY_RESTORE_REFUSED',
    /leads to the tenant's current database/
  )
  appendFileSync(join(folder, 'tables/tasks.ndjson'), '{"id":"3","project_id":"1"}\n')
  await refuses(folder, 'FST_TENANCY_IMPORT_REFUSED', /does not match the manifest/)
})

t.test("DAT-18 a removal that reaches rows outside the tenant's tables is refused", async t => {
  for (const action of isLong ? ['no action', 'cascade', 'set null', 'restrict'] : ['no action', 'cascade']) {
    const { world, acme, folder, manager } = await twoTenants(t, 'rls')
    await world.admin(`insert into projects values ('${acme.id}', 9, null)`)
    await world.admin(`
      create table invoices (n int primary key, tenant text, project int,
        constraint invoices_project foreign key (tenant, project) references projects on delete ${action});
      insert into invoices values (1, '${acme.id}', 9), (2, '${acme.id}', 1)`)
    await t.rejects(manager.restore(acme, { from: folder }), {
      code: 'FST_TENANCY_RESTORE_REFUSED',
      message: /may not read that table: grant it SELECT/
    }, action)
    await world.admin(`grant select on invoices to "${new URL(world.ownerUrl).username}"`)
    await t.rejects(manager.restore(acme, { from: folder }), {
      code: 'FST_TENANCY_RESTORE_REFUSED',
      message: /1 rows of (public\.)?invoices \(invoices_project\)/
    }, action)
    t.equal((await world.admin('select n from invoices where project = 9')).length, 1, action)
    await world.admin('delete from invoices where project = 9')
    await manager.restore(acme, { from: folder })
    t.equal(
      (await world.admin('select n from invoices')).length,
      1,
      'control: rows that refer to what stays stand in no way'
    )
  }
})

t.test('DAT-18 a trigger that changes rows is noticed, and all is taken back', async t => {
  const { world, acme, folder, manager } = await twoTenants(t, 'rls')
  await change(t, world, acme)
  const changed = await rowsOf(t, world, acme)
  await world.admin(`
    create function meddle () returns trigger language plpgsql as $$ begin new.parent := null; return new;
    end $$;
    create trigger meddle before insert on projects for each row execute function meddle()`)
  await t.rejects(manager.restore(acme, { from: folder }), { code: 'FST_TENANCY_RESTORE_REFUSED' })
  t.same(await rowsOf(t, world, acme), changed)
  await world.admin('drop trigger meddle on projects')
  await manager.restore(acme, { from: folder })
})

t.test('DAT-18 rows are restored from the URL of a restored copy', async t => {
  for (const strategy of isLong ? ['rls', 'schema'] as const : ['rls'] as const) {
    const { world, acme, globex, manager } = await twoTenants(t, strategy)
    const before = await rowsOf(t, world, acme)
    const copy = `${databaseOf(world.superUrl)}_copy`
    const url = world.superUrl.replace(databaseOf(world.superUrl), copy)
    // A copy of the whole database, as a point-in-time recovery gives it.
    await copyDatabase(t, world.superUrl, copy)
    await change(t, world, acme)
    t.match(await manager.restore(acme, { from: url }), { rows: { projects: { added: 1, removed: 1 } } })
    t.same((await rowsOf(t, world, acme)).rows, before.rows)
    const late = await manager.create({ slug: 'late', id: idFor(world, 'late') })
    const [column, value] = isOwn(late) ? ['', ''] : ['tenant_id, ', `'${late.id}', `]
    await onTenant(t, world, late, `insert into projects (${column}id) values (${value}1), (${value}2)`)
    await t.rejects(manager.restore(late, { from: url }), {
      code: 'FST_TENANCY_RESTORE_REFUSED',
      message: /has no tenant 'late'/
    })
    t.equal(((await rowsOf(t, world, late)).rows as { projects: unknown[] }).projects.length, 2)
    const client = await connect(t, url)
    await client.query("update tenancy.tenants set shard = 'eu' where id = $1", [globex.id])
    await t.rejects(manager.restore(globex, { from: url }), {
      message: /were in shard 'eu': use a copy of that database/
    })
    await client.query('drop schema tenancy cascade')
    await t.rejects(
      manager.restore(globex, { from: url }),
      { message: /has no tenant 'globex'/ },
      'an unknown database proves nothing'
    )
    await client.end()
  }
})

async function copyDatabase (t: Test, from: string, name: string): Promise<void> {
  const client = await connect(t, from.replace(/\/[^/]*$/, '/postgres'))
  t.teardown(() => client.query(`drop database if exists "${name}" with (force)`).catch(() => {}))
  await client.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [
    databaseOf(from)
  ])
  await until(() =>
    client.query(`create database "${name}" template "${databaseOf(from)}"`).then(() => true, () => undefined)
  )
}

t.test('DAT-18 a suspended tenant is restored and stays suspended', async t => {
  const { world, acme, folder, manager } = await twoTenants(t, 'rls')
  await change(t, world, acme)
  await manager.suspend(acme)
  t.match(await manager.restore(acme, { from: folder }), { tenant: { status: 'suspended' } })
  t.match(await world.admin('select reason from tenancy.lockouts'), [{ reason: 'suspended' }])
  await t.rejects(createManager(world.options).restore({ slug: 'nobody' }, { from: folder }), {
    code: 'FST_TENANCY_TENANT_UNKNOWN'
  })
})
