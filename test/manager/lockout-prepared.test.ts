// Two-phase commit: a prepared transaction belongs to no session any more, and still holds its
// writes.
import t, { type Test } from 'tap'

import { connect } from '../support/sql.ts'
import { until } from '../support/until.ts'
import { idFor, lifecycleFixture, type LifecycleFixture } from './lifecycle-fixture.ts'

const insert = 'insert into projects (tenant_id, id) values ($1, 77)'

/** Deletes a tenant that has two projects. `work` begins in another session before that. */
async function world (
  t: Test,
  lifecycle: { readonly wait: string }
): Promise<LifecycleFixture & { readonly id: string; begin(): Promise<(text: string) => Promise<unknown>> }> {
  const life = await lifecycleFixture(t, 'rls', { lifecycle })
  const acme = await life.manager.create({ slug: 'acme' })
  await life.fill(acme)
  return {
    ...life,
    id: acme.id,
    async begin () {
      const session = await connect(t, life.superUrl)
      await session.query('begin')
      await session.query(insert, [acme.id])
      return text => session.query(text)
    }
  }
}

t.test('LIF-02 a purge waits for prepared transactions older than its lockout, and names them', async t => {
  const { manager, another, admin, id, begin, options } = await world(t, { wait: '1ms' })
  await (await begin())("prepare transaction 'an older order'")
  await manager.delete({ id }, { grace: '0s' })
  await t.rejects(manager.purge({ id }), {
    code: 'FST_TENANCY_TENANT_CONFLICT',
    message: new RegExp(
      "the prepared transaction 'an older order' of the tenant's database .*commit prepared " +
        'or rollback prepared, then call again'
    )
  })
  t.equal((await admin('select from projects where tenant_id = $1', [id])).length, 2, 'nothing is removed')
  const purge = another({ lifecycle: { ...options.lifecycle, wait: '1m' } }).purge({ id })
  await admin("commit prepared 'an older order'")
  t.equal((await purge).rows['projects'], 3, 'what it wrote goes with the rest')
})

t.test('a purge waits for a transaction prepared meanwhile, but not for one that began later', async t => {
  const { another, admin, id, begin, options } = await world(t, { wait: '1m' })
  const manager = another({ lifecycle: { ...options.lifecycle, wait: '1m' } })
  const older = await begin()
  await manager.delete({ id }, { grace: '0s' })
  let isPurged = false
  const purge = manager.purge({ id }).finally(() => {
    isPurged = true
  })
  await until(async () =>
    (await admin("select from tenancy.operations where done @> '{lockout}' and kind = 'purge'")).length === 1
  )
  // The purge has looked at the running transactions once when its connection shows this query.
  await until(async () =>
    (await admin(
      'select from pg_stat_activity where datname = current_database() and query like ' +
        "'%virtualxid = any%' and pid <> pg_backend_pid()"
    )).length > 0
  )
  await older("prepare transaction 'meanwhile'")
  // From its second look on, the purge asks only for the transactions that it saw in the first.
  const looks = new Set<string>()
  await until(async () => {
    const seen = await admin<{ at: string }>(
      'select state_change::text as at from pg_stat_activity where datname = current_database() ' +
        "and query like 'select gid%' and state_change > (select prepared from pg_prepared_xacts " +
        'where database = current_database()) and pid <> pg_backend_pid()'
    )
    for (const { at } of seen) looks.add(at)
    return looks.size > 2
  }, 20_000)
  const later = await connect(t, (options.database as { ownerUrl: string }).ownerUrl)
  await later.query("begin; select txid_current(); prepare transaction 'later'")
  t.teardown(() => admin("rollback prepared 'later'").catch(() => {}))
  t.equal(isPurged, false)
  await admin("commit prepared 'meanwhile'")
  t.equal((await purge).rows['projects'], 3)
})

t.test("a tenant's own database with a prepared transaction is not moved away from it", async t => {
  const life = await lifecycleFixture(t, 'database')
  const id = idFor(life, 'a')
  await life.fill(await life.manager.create({ id, slug: 'acme' }))
  const session = await connect(t, life.superUrl.replace(/\/[^/]*$/, `/tenant_${id}`))
  await session.query("begin; insert into projects (id) values (77); prepare transaction 'in its own'")
  await t.rejects(life.manager.move({ id }, { isolation: 'rls' }), {
    message: /the prepared transaction 'in its own' of the tenant's database is not decided/
  })
  t.match(await life.manager.get({ id }), { isolation: 'database', status: 'active' })
  await session.query("commit prepared 'in its own'")
  await session.end()
  await life.manager.move({ id }, { isolation: 'rls' })
  t.equal((await life.admin('select from projects where tenant_id = $1', [id])).length, 3)
})
