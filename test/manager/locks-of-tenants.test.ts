// A tenant's SQL can take any advisory lock whose key it can compute. The manager's locks must not
// be among these.
import { createManager, type Manager } from '@fastify-tenancy/manager'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import type pg from 'pg'
import pgDriver from 'pg'
import t, { type Test } from 'tap'

import { Locks } from '../../packages/manager/src/context/locks.ts'
import { freshDatabase } from '../support/fresh.ts'
import { connect, databaseOf, loginUrl } from '../support/sql.ts'
import { until } from '../support/until.ts'

const secret = 'a secret of the tests, 32 characters and more'

interface World {
  readonly superUrl: string
  readonly manager: Manager
  /** A connection of the application's login, which injected SQL would run as. */
  readonly tenant: pg.Client
  admin(text: string, values?: unknown[]): Promise<pg.QueryResult>
}

async function world (t: Test): Promise<World> {
  const superUrl = await freshDatabase(t)
  const admin = await connect(t, superUrl)
  await admin.query('create table notes (tenant_id text not null, body text)')
  const login = (use: string): string => loginUrl(superUrl, use)
  const migration = { getMigrations: async () => ({ '001': { up: async () => {} } }) }
  const manager = createManager({
    rls: { secret },
    tables: { tenant: ['notes'] },
    database: {
      url: login('app'),
      registryUrl: login('registry'),
      systemUrl: login('system'),
      ownerUrl: login('owner')
    },
    migrations: { shared: migration, tenant: migration },
    provision: async ({ client }) => {
      await client.query('create table notes (body text)')
    }
  })
  t.teardown(() => manager.close())
  await manager.init({ url: superUrl, tenantRoles: true })
  await manager.protect({ url: superUrl })
  await manager.create({ id: 'acme', slug: 'the-acme' })
  await manager.create({ id: 'globex', slug: 'the-globex' })
  const tenant = await connect(t, login('app'))
  await tenant.query("select set_config('role', $1, false)", [rolesOf(databaseOf(superUrl)).app])
  return { superUrl, manager, tenant, admin: (text, values) => admin.query(text, values) }
}

/** Every lock name of a manager so far, in both forms of a key. */
const names = ['tenancy init', 'tenancy protect', 'tenancy migrate ', ...['acme', 'globex', 'hooli'].flatMap(
  id => [`tenancy tenant ${id}`, `tenancy slug the-${id}`, `tenancy migrate ${id}`,
    `tenancy migrate alone ${id}`]
)]

async function holdAll (tenant: pg.Client): Promise<void> {
  await tenant.query(
    'select pg_advisory_lock(hashtext(name)), pg_advisory_lock(hashtextextended(name, 0)), ' +
      'pg_advisory_lock(hashtext(name), 0) from unnest($1::text[]) name',
    [names]
  )
}

t.test('CON-14 a tenant that holds every lock it can name does not block the manager', async t => {
  const on = await world(t)
  await holdAll(on.tenant)
  const { rows } = await on.admin(
    "select pg_try_advisory_lock(hashtextextended('tenancy tenant acme', 0)) as free"
  )
  t.same(rows, [{ free: false }], 'control: the tenant does hold them')
  const { manager } = on
  t.equal((await manager.suspend({ id: 'acme' })).status, 'suspended')
  t.equal((await manager.resume({ id: 'acme' })).status, 'active')
  t.equal((await manager.rename({ id: 'globex' }, 'globex-inc')).slug, 'globex-inc')
  t.equal((await manager.create({ id: 'hooli', slug: 'the-hooli' })).status, 'active')
  await manager.migrate()
  await manager.init({ url: on.superUrl, tenantRoles: true, harden: true })
  await manager.protect()
  await manager.protect({ url: on.superUrl, stage: 'enforce' })
  t.equal((await manager.move({ id: 'globex' }, { isolation: 'schema' })).isolation, 'schema')
  await manager.confirmMove({ id: 'globex' })
  await manager.delete({ id: 'hooli' })
  await manager.purge({ id: 'hooli' })
  t.equal((await manager.get({ id: 'hooli' }))?.status, 'deleted')
})

t.test('CON-14 tables of locks are closed to tenants, in every mode that would be in the way', async t => {
  const on = await world(t)
  for (
    const text of ['select * from tenancy.locks', 'begin; lock table tenancy.locks',
      "insert into tenancy.locks values ('x', 1, 1)", "select tenancy.acquire_lock('tenancy tenant acme', 1)",
      "select tenancy.await_lock('tenancy tenant acme')"]
  ) {
    await t.rejects(on.tenant.query(text), { code: '42501' }, text)
    await on.tenant.query('rollback')
  }
  // PREPARE checks no privileges yet, but keeps its lock on the table until the transaction ends.
  await on.tenant.query('begin')
  await on.tenant.query('prepare stuck as update tenancy.locks set pid = 1')
  await on.tenant.query('prepare looking as select from tenancy.locks for update')
  t.equal((await on.manager.suspend({ id: 'acme' })).status, 'suspended')
  await on.manager.init({ url: on.superUrl, tenantRoles: true })
  await on.tenant.query('rollback')
})

t.test('CON-14 LIF-02 a lock belongs to one manager and ends with its session', async t => {
  const on = await world(t)
  const pool = new pgDriver.Pool({ connectionString: on.superUrl })
  pool.on('error', () => {})
  const [one, two] = [new Locks(() => pool), new Locks(() => pool)]
  t.teardown(async () => {
    await Promise.all([one.close(), two.close()])
    await pool.end()
  })
  const held = Promise.withResolvers<void>()
  const done = Promise.withResolvers<void>()
  const work = one.hold('tenancy tenant acme', 'busy', async () => {
    held.resolve()
    await done.promise
  })
  await held.promise
  await t.rejects(two.hold('tenancy tenant acme', 'busy', async () => {}), {
    code: 'FST_TENANCY_TENANT_CONFLICT',
    message: /busy/
  })
  await t.rejects(on.manager.suspend({ id: 'acme' }), { code: 'FST_TENANCY_TENANT_CONFLICT' })
  t.equal((await on.manager.suspend({ id: 'globex' })).status, 'suspended', 'of another tenant it is not')

  // A tenant can read the key in pg_locks and wait for it. It gets that lock as soon as the
  // manager's session ends.
  const { rows: [row] } = await on.tenant.query<{ key: string }>(
    'select (classid::bigint << 32 | objid::bigint)::text as key from pg_locks ' +
      "where locktype = 'advisory' and objsubid = 1 and database = (select oid from pg_database " +
      'where datname = current_database())'
  )
  const waiting = on.tenant.query('select pg_advisory_lock($1)', [row?.key])
  await on.admin("select pg_terminate_backend(pid) from tenancy.locks where name = 'tenancy tenant acme'")
  await waiting
  await until(async () =>
    (await on.admin('select from pg_stat_activity a join tenancy.locks l on l.pid = a.pid')).rowCount === 0
  )
  t.equal(await two.hold('tenancy tenant acme', 'busy', async () => 'taken over'), 'taken over')
  t.equal((await on.manager.suspend({ id: 'acme' })).status, 'suspended')
  done.resolve()
  await work
  t.same((await on.admin('select name from tenancy.locks')).rows, [], 'and nothing is left')
})

t.test('CON-14 MIG-02 a lock of a transaction and one of a session keep each other out', async t => {
  const on = await world(t)
  const [one, two] = [await connect(t, on.superUrl), await connect(t, on.superUrl)]
  const take = async (): Promise<boolean> =>
    (await two.query<{ got: boolean }>("select tenancy.acquire_lock('x', 5) as got")).rows[0]?.got === true
  await one.query('begin')
  t.same((await one.query("select tenancy.await_lock('x') as got")).rows, [{ got: true }])
  t.equal(await take(), false, 'while the transaction runs')
  t.same(
    (await two.query("select from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'")).rows,
    []
  )
  await one.query('rollback')
  t.equal(await take(), true, 'also after a rollback')
  await one.query('begin')
  t.same((await one.query("select tenancy.await_lock('x') as got")).rows, [{ got: false }], 'at once')
  t.same(
    (await two.query("select tenancy.await_lock('x') as got")).rows,
    [{ got: true }],
    'the same session may have both'
  )
  await two.query("select tenancy.release_lock('x', 5)")
  t.same((await one.query("select tenancy.await_lock('x') as got")).rows, [{ got: true }])
  const waiting = two.query("select tenancy.await_lock('x') as got")
  await until(async () =>
    (await on.admin(
      "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )).rowCount === 1
  )
  await one.query('commit')
  t.same((await waiting).rows, [{ got: true }])
})
