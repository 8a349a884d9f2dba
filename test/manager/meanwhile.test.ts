// State that was read before the tenant's lock was taken, and that has changed by the time the lock
// is held.
import t from 'tap'

import { connect } from '../support/sql.ts'
import { until } from '../support/until.ts'
import { lifecycleFixture } from './lifecycle-fixture.ts'

const conflict = (message: RegExp): { code: string; message: RegExp } => ({
  code: 'FST_TENANCY_TENANT_CONFLICT',
  message
})

t.test('LIF-02 a purge that has read a tenant just before it is resumed touches nothing of it', async t => {
  const world = await lifecycleFixture(t)
  const { manager, admin } = world
  const acme = await manager.create({ slug: 'acme' })
  await world.fill(acme)
  await manager.delete({ id: acme.id }, { grace: '0s' })
  const other = await connect(t, world.superUrl)
  await other.query('begin; lock table tenancy.deletions in access exclusive mode')
  const purge = world.another().purge({ id: acme.id })
  const ended = purge.then(() => 'purged', (error: unknown) => error)
  await until(async () =>
    (await admin(
      'select from pg_locks where not granted and database = (select oid from pg_database ' +
        'where datname = current_database())'
    )).length > 0
  )
  // Everything that a resume writes, between the purge's last read and its lock.
  await other.query(
    `update tenancy.tenants set status = 'active'; delete from tenancy.deletions; ` +
      'delete from tenancy.lockouts; commit'
  )
  t.match(await ended, conflict(/the tenant was changed meanwhile/))
  t.same(await admin('select count(*)::int as count from projects'), [{ count: 2 }])
  t.same(await admin('select from tenancy.lockouts'), [])
  t.equal((await manager.suspend({ id: acme.id })).status, 'suspended', 'and nothing is left unfinished')
  t.match(await manager.delete({ id: acme.id }, { grace: '0s' }), { tenant: { status: 'deleting' } })
  t.match(
    await manager.purge({ id: acme.id }),
    { rows: { projects: 2 } },
    'control: the rows go when they are to'
  )
})

t.test('a creation that was cut short, and then its deletion, is not made active by a resume', async t => {
  const world = await lifecycleFixture(t, 'schema')
  const { admin } = world
  const manager = world.another({
    seed: async () => {
      throw new Error('never')
    }
  })
  await t.rejects(manager.create({ slug: 'acme' }), { message: 'never' })
  const [tenant] = await admin<{ id: string }>('select id from tenancy.tenants')
  // The state that a deletion leaves if it dies between its lockout and its status change.
  await admin(
    'update tenancy.operations set finished_at = now(); ' +
      `insert into tenancy.operations (tenant_id, kind, done) select id, 'delete', '{lockout}' ` +
      'from tenancy.tenants'
  )
  await t.rejects(
    manager.resume({ slug: 'acme' }),
    conflict(/is being created: create it again to finish that, or delete it/)
  )
  t.equal((await manager.get({ slug: 'acme' }))?.status, 'provisioning')
  await manager.delete({ slug: 'acme' })
  t.match(await manager.purge({ id: tenant?.id ?? '' }), { tenant: { status: 'deleted' } })
})
