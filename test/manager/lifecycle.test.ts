// update, suspend, resume, rename, delete: what each changes in the record, the names and the
// lockout, and what it refuses.
import { createManager } from '@fastify-tenancy/manager'
import { sql } from 'kysely'
import type { MigrationProvider } from 'kysely/migration'
import { mock } from 'node:test'
import t from 'tap'

import { lifecycleFixture } from './lifecycle-fixture.ts'

const conflict = (message: RegExp): { code: string; message: RegExp } => ({
  code: 'FST_TENANCY_TENANT_CONFLICT',
  message
})
const unknown = { code: 'FST_TENANCY_TENANT_UNKNOWN', statusCode: 404 }

t.test('update changes only its input, and refuses an outdated version', async t => {
  const { manager, admin } = await lifecycleFixture(t)
  const acme = await manager.create({ slug: 'acme', settings: { theme: 'dark' } })
  const pro = await manager.update({ slug: 'acme' }, { plan: 'pro', name: 'Acme' })
  t.match(pro, { plan: 'pro', name: 'Acme', settings: { theme: 'dark' }, version: 2 })
  t.equal((await manager.update({ id: acme.id }, { plan: 'pro' })).version, 2, 'again: nothing is written')
  await t.rejects(
    manager.update({ id: acme.id }, { plan: 'free', version: 1 }),
    conflict(/its version is 2, not 1\. Read the tenant, then update it again/)
  )
  t.match(await manager.update({ id: acme.id }, { settings: {}, version: 2 }), { settings: {}, version: 3 })
  const both = await Promise.allSettled(
    [1, 2].map(n => manager.update({ id: acme.id }, { name: `Acme ${n}`, version: 3 }))
  )
  t.same(both.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
  await t.rejects(manager.update({ slug: 'nobody' }, { plan: 'pro' }), unknown)
  t.same(
    await admin<{ action: string; details: object }>(
      'select action, details from tenancy.audit where tenant_id = $1 order by id limit 3',
      [acme.id]
    ),
    [
      { action: 'create', details: { slug: 'acme', plan: 'free', isolation: 'rls', shard: 'default' } },
      { action: 'update', details: { plan: 'pro', name: 'Acme' } },
      { action: 'update', details: { settings: ['theme'] } }
    ],
    'of settings the names alone, which may be of secrets'
  )
})

t.test('suspend and resume run twice as well as once; forbidden ways say which are open', async t => {
  const { manager, admin } = await lifecycleFixture(t)
  const { id } = await manager.create({ slug: 'acme' })
  const lockouts = async (): Promise<string[]> =>
    (await admin<{ reason: string }>('select reason from tenancy.lockouts')).map(({ reason }) => reason)
  const suspended = await manager.suspend({ id }, { reason: 'unpaid' })
  t.equal(suspended.status, 'suspended')
  t.equal((await manager.suspend({ id })).version, suspended.version)
  t.same(await lockouts(), ['suspended'])
  t.equal((await manager.resume({ id })).status, 'active')
  t.equal((await manager.resume({ id })).status, 'active')
  t.same(await lockouts(), [])
  for (const verb of ['suspend', 'resume', 'delete', 'purge'] as const)
    await t.rejects(async () => manager[verb]({ slug: 'nobody' }), unknown, verb)
  await t.rejects(manager.purge({ id }), conflict(/is active: it can be suspended or deleted/))

  await manager.delete({ id })
  t.same(await lockouts(), ['deleting'])
  await t.rejects(manager.suspend({ id }), conflict(/is being deleted: it can be resumed or purged/))
  await t.rejects(manager.update({ id }, { plan: 'pro' }), conflict(/is being deleted/))
  await t.rejects(manager.rename({ id }, 'other'), conflict(/is being deleted/))
  await t.rejects(manager.create({ slug: 'acme' }), conflict(/taken/), 'the slug is held for the whole grace')
  t.equal((await manager.resume({ id })).status, 'active', 'a deletion is taken back')
  t.same(await lockouts(), [])
  await manager.suspend({ id })
  await manager.delete({ id })
  t.equal((await manager.resume({ id })).status, 'suspended', 'to what the tenant was before')
  t.same(await lockouts(), ['suspended'])

  await manager.delete({ id })
  await manager.purge({ id })
  await t.rejects(manager.resume({ id }), conflict(/is deleted and cannot be restored/))
  await t.rejects(manager.delete({ id }), conflict(/is deleted and cannot be restored/))
  t.same(
    await admin('select action from tenancy.audit where tenant_id = $1 order by id', [id]),
    ['create', 'suspend', 'resume', 'delete', 'undelete', 'suspend', 'delete', 'undelete', 'delete', 'purge']
      .map(action => ({ action }))
  )
})

t.test('SLG-01 SLG-02 a renamed slug is free only for its own tenant for 30 days', async t => {
  const { manager, admin } = await lifecycleFixture(t)
  const { id } = await manager.create({ slug: 'acme' })
  const renamed = await manager.rename({ slug: 'acme' }, 'acme-corp')
  t.equal(renamed.slug, 'acme-corp')
  t.equal((await manager.rename({ id }, 'acme-corp')).version, renamed.version, 'again: nothing is written')
  t.equal(await manager.get({ slug: 'acme' }), undefined)
  await t.rejects(manager.create({ slug: 'acme' }), conflict(/given up within the last 30 days/))
  await manager.create({ slug: 'globex' })
  await t.rejects(manager.rename({ slug: 'globex' }, 'acme'), conflict(/given up within the last 30 days/))
  await t.rejects(manager.rename({ slug: 'globex' }, 'acme-corp'), conflict(/taken/))
  for (const slug of ['www', 'Acme', 'xn--acme', 'a'.repeat(64), '123'])
    await t.rejects(manager.rename({ id }, slug), conflict(/slug/), slug)
  await manager.rename({ id }, 'acme')
  await manager.rename({ id }, 'acme-corp')
  await admin("update tenancy.names set free_at = now() where name = 'acme'")
  await manager.rename({ slug: 'globex' }, 'acme')
})

t.test('LIF-03 reserved, too long, look-alike and colliding slugs and ids are refused', async t => {
  const { manager, admin } = await lifecycleFixture(t, 'schema')
  for (
    const slug of ['www', 'a'.repeat(64), 'xn--80ak6aa92e', 'аcme', 'Acme', 'acme.', 'a_b', '-a', 'a-',
      '1234']
  ) await t.rejects(manager.create({ slug }), conflict(/slug/), slug)
  // PostgreSQL would cut both names to the same 63 bytes.
  const [one, two] = [`${'x'.repeat(58)}_1`, `${'x'.repeat(58)}_2`]
  const schemas = [await manager.create({ slug: 'one', id: one }),
    await manager.create({ slug: 'two', id: two })].map(({ placement }) => placement.schema)
  t.not(schemas[0], schemas[1])
  t.ok(schemas.every(schema => schema !== undefined && schema.length <= 63))
  const roles = await admin<{ rolname: string }>(
    "select rolname from pg_roles where rolname like 'tenanth\\_%' || substr(md5(current_database()), 1, 8)"
  )
  t.equal(roles.length, 2)
})

t.test('LIF-10 a deletion says what it removes and when, and refuses the last tenant', async t => {
  const world = await lifecycleFixture(t)
  const { manager, admin } = world
  const acme = await manager.create({ slug: 'acme' })
  await world.fill(acme)
  const dry = await manager.delete({ slug: 'acme' }, { dryRun: true, grace: '2d' })
  t.match(dry, { isDryRun: true, keepsData: false, rows: { projects: 2, tasks: 2, comments: 2, members: 2 } })
  t.ok(Math.abs(dry.due.getTime() - Date.now() - 2 * 86_400_000) < 60_000)
  t.equal((await manager.get({ slug: 'acme' }))?.status, 'active', 'a dry run changes nothing')
  t.same(await admin('select 1 from tenancy.lockouts'), [])

  const report = await manager.delete({ slug: 'acme' })
  t.match(report, { isDryRun: false, tenant: { status: 'deleting' } })
  t.ok(Math.abs(report.due.getTime() - Date.now() - 7 * 86_400_000) < 60_000, 'seven days, unless it is told')
  t.same(await manager.purgeDue(), { purged: [], failed: [] }, 'no tenant is due')
  t.same(await admin('select count(*)::int from projects'), [{ count: 2 }])
  await manager.delete({ slug: 'acme' }, { grace: '0s' })
  const { purged, failed } = await manager.purgeDue()
  t.match(purged, [{
    tenant: { id: acme.id, status: 'deleted', domains: { length: 0 } },
    rows: { projects: 2, tasks: 2, comments: 2, members: 2 },
    keptData: false
  }])
  t.same(failed, [])
  t.match(await manager.purge({ id: acme.id }), { tenant: { status: 'deleted' }, rows: {} }, 'twice')
  await t.rejects(manager.purge({ slug: 'acme' }), unknown, 'a deleted tenant has no slug')
  for await (const tenant of manager.list({ status: ['active'] })) t.fail(tenant.slug)
  for (const grace of ['0', '-1d', 7, 'soon'])
    await t.rejects(manager.delete({ slug: 'acme' }, { grace } as never), {
      code: 'FST_TENANCY_OPTION_INVALID',
      message: /options.grace must be a duration/
    })
})

t.test("LIF-10 the database's clock decides what is due, not the caller's", async t => {
  const world = await lifecycleFixture(t)
  const { manager, admin } = world
  const { id } = await manager.create({ slug: 'acme' })
  mock.timers.enable({ apis: ['Date'], now: Date.now() - 30 * 86_400_000 })
  try {
    await manager.delete({ id }, { grace: '1d' })
  } finally {
    mock.timers.reset()
  }
  t.match(await admin("select due_at > now() + interval '23 hours' as later from tenancy.deletions"), [{
    later: true
  }])
  t.same(await manager.purgeDue(), { purged: [], failed: [] })
})

t.test('PGlite: a whole life on its one connection', async t => {
  const manager = createManager({
    database: 'pglite://memory',
    rls: { secret: 'a secret of the tests, 32 characters and more' },
    tables: { tenant: ['notes'] },
    provision: async () => {},
    seed: async ({ tenant, db }) => {
      await sql`insert into notes (tenant_id, body) values (${tenant.id}, 'seeded')`.execute(db)
    },
    migrations: { shared: provider('create table notes (tenant_id uuid not null, body text not null)') }
  })
  t.teardown(() => manager.close())
  await manager.init()
  await manager.migrate()
  const { id } = await manager.create({ slug: 'acme' })
  const both = await Promise.allSettled([manager.suspend({ id }), manager.suspend({ id })])
  t.ok(both.some(({ status }) => status === 'fulfilled'))
  t.equal((await manager.resume({ id })).status, 'active')
  t.match((await manager.delete({ id }, { dryRun: true })).rows, { notes: 1 })
  await manager.delete({ id }, { grace: '0s' })
  t.match(await manager.purgeDue(), {
    purged: [{ tenant: { status: 'deleted' }, rows: { notes: 1 } }],
    failed: { length: 0 }
  })
})

/** One migration that runs one statement. */
function provider (text: string): MigrationProvider {
  return {
    getMigrations: async () => ({
      '001': {
        up: async db => {
          await sql.raw(text).execute(db)
        }
      }
    })
  }
}
