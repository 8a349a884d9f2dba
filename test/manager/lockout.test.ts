import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'

import { isLong } from '../support/long.ts'
import { connect } from '../support/sql.ts'
import { until } from '../support/until.ts'
import { idFor, lifecycleFixture, tables, type LifecycleStrategy,
  type LifecycleFixture } from './lifecycle-fixture.ts'

interface Answer {
  /** 'written', or the code of the error. */
  readonly code: string
  /** Whether the process asked the registry for the tenant. */
  readonly asked: boolean
}

interface Sleeper {
  readonly child: ChildProcess
  write(slug: string): Promise<Answer>
}

async function startSleeper (
  t: Test,
  { options: { database, isolation, rls } }: LifecycleFixture
): Promise<Sleeper> {
  const { registryUrl } = database as { registryUrl: string }
  const child = fork(join(import.meta.dirname, '../support/sleeper.ts'), [
    JSON.stringify({ database, isolation, ...(rls && { rls }), tables, registryUrl })
  ], { execArgv: ['--conditions=@fastify-tenancy/source'] })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child, 'message')
  return {
    child,
    async write (slug) {
      child.send({ write: slug })
      const [answer] = await once(child, 'message') as [Answer]
      return answer
    }
  }
}

async function rowsOf (
  { admin, superUrl }: LifecycleFixture,
  strategy: LifecycleStrategy,
  id: string
): Promise<number> {
  const name = strategy === 'schema' ? `"tenant_${id}".projects` : 'projects'
  const count = `select count(*)::int from ${name}`
  if (strategy !== 'database')
    return (await admin<{ count: number }>(
      `${count}${strategy === 'schema' ? '' : ' where tenant_id = $1'}`,
      strategy === 'schema' ? [] : [id]
    ))[0]?.count ?? 0
  const url = superUrl.replace(/\/[^/]*$/, `/tenant_${id}`)
  const client = await connect(t, url)
  try {
    return (await client.query<{ count: number }>(count)).rows[0]?.count ?? 0
  } finally {
    await client.end()
  }
}

t.jobs = 3
const strategies = ['rls', 'row', 'role', 'schema', 'database'] as const
// The next test has a short form for the others.
for (const strategy of isLong ? strategies : ['rls', 'schema', 'database'] as const) {
  t.test(
    `FNC-01 ${strategy}: a process with a stale tenant gets errors and writes nothing`,
    { buffered: true },
    async t => {
      const world = await lifecycleFixture(t, strategy)
      const { manager } = world
      const id = idFor(world, 'a')
      await manager.create({ id, slug: 'acme' })
      await manager.create({ id: idFor(world, 'b'), slug: 'globex' })
      const [{ child, write }, second] = await Promise.all([startSleeper(t, world), startSleeper(t, world)])
      t.match(await write('acme'), { code: 'written', asked: true })
      t.match(await write('acme'), { code: 'written', asked: false }, 'control: it does not ask again')
      t.equal(await rowsOf(world, strategy, id), 2)

      child.kill('SIGSTOP')
      await manager.suspend({ id })
      child.send({ write: 'acme' })
      const woken = once(child, 'message') as Promise<[Answer]>
      child.kill('SIGCONT')
      t.match((await woken)[0], {
        code: strategy === 'database' ? 'FST_TENANCY_TENANT_NOT_READY' : 'FST_TENANCY_TENANT_SUSPENDED'
      })
      t.match(
        await write('acme'),
        { code: 'FST_TENANCY_TENANT_SUSPENDED', asked: true },
        'what it remembered is doubted'
      )
      t.match(await write('globex'), { code: 'written' })
      t.equal(await rowsOf(world, strategy, id), 2)
      await manager.resume({ id })

      t.equal((await second.write('acme')).code, 'written')
      second.child.kill('SIGSTOP')
      await manager.delete({ id }, { grace: '0s' })
      t.equal((await manager.purge({ id })).rows['projects'], 3)
      second.child.send({ write: 'acme' })
      const wokenAgain = once(second.child, 'message') as Promise<[Answer]>
      second.child.kill('SIGCONT')
      t.match((await wokenAgain)[0], {
        code: strategy === 'database' ? 'FST_TENANCY_DATABASE_UNAVAILABLE' : 'FST_TENANCY_TENANT_UNKNOWN'
      }, 'of a database, login and all are gone')
      t.match(await second.write('acme'), { code: 'FST_TENANCY_TENANT_UNKNOWN' })
      t.equal((await second.write('globex')).code, 'written')
      if (strategy !== 'schema' && strategy !== 'database') t.equal(await rowsOf(world, strategy, id), 0)
    }
  )
}

for (const strategy of ['row', 'role'] as const) {
  t.test(`FNC-01 ${strategy}: a stale handle gets errors and writes nothing`, { buffered: true }, async t => {
    const world = await lifecycleFixture(t, strategy)
    const { manager } = world
    const acme = await manager.create({ id: idFor(world, 'a'), slug: 'acme' })
    const globex = await manager.create({ id: idFor(world, 'b'), slug: 'globex' })
    const database = await world.open()
    let id = 0
    const write = async (tenant: typeof acme): Promise<string> =>
      world.handle(database, tenant).insertInto('projects').values({ id: ++id, parent: null }).execute()
        .then(() => 'written', (error: { code: string }) => error.code)
    t.equal(await write(acme), 'written')
    await manager.suspend({ id: acme.id })
    t.equal(await write(acme), 'FST_TENANCY_TENANT_SUSPENDED')
    t.equal(await write(globex), 'written')
    t.equal(await rowsOf(world, strategy, acme.id), 1)
    await manager.resume({ id: acme.id })
    t.equal(await write(acme), 'written')
    await manager.delete({ id: acme.id }, { grace: '0s' })
    t.equal((await manager.purge({ id: acme.id })).rows['projects'], 2)
    t.equal(await write(acme), 'FST_TENANCY_TENANT_UNKNOWN')
    t.equal(await write(globex), 'written')
    t.equal(await rowsOf(world, strategy, acme.id), 0)
  })
}

t.test('a statement for suspended tenants passes the suspension lockout and no other', async t => {
  const world = await lifecycleFixture(t, 'rls')
  const { manager } = world
  const acme = await manager.create({ slug: 'acme' })
  const database = await world.open()
  const [before, during] = [world.handle(database, acme),
    world.handle(database, { ...acme, status: 'suspended' })]
  await before.insertInto('projects').values({ id: 1, parent: null }).execute()
  await manager.suspend({ id: acme.id })
  await t.rejects(before.selectFrom('projects').selectAll().execute(), {
    code: 'FST_TENANCY_TENANT_SUSPENDED',
    statusCode: 403
  })
  t.equal(
    (await during.selectFrom('projects').selectAll().execute()).length,
    1,
    'a route for suspended tenants'
  )
  await manager.resume({ id: acme.id })
  await t.rejects(
    before.transaction().execute(async trx => {
      await trx.insertInto('projects').values({ id: 2, parent: null }).execute()
      await manager.suspend({ id: acme.id })
      await trx.insertInto('projects').values({ id: 3, parent: null }).execute()
    }),
    { code: 'FST_TENANCY_TENANT_SUSPENDED' },
    'each statement of a transaction looks again'
  )
  await manager.delete({ id: acme.id })
  await t.rejects(during.selectFrom('projects').selectAll().execute(), {
    code: 'FST_TENANCY_TENANT_UNKNOWN',
    statusCode: 404
  })
  t.same(await world.admin('select id from projects'), [{ id: 1 }])
})

t.test('FNC-01 a statement that passes a lockout does not take others past it', async t => {
  const world = await lifecycleFixture(t, 'rls')
  const { manager, admin } = world
  const acme = await manager.create({ slug: 'acme' })
  const database = await world.open()
  const [old, knowing] = [world.handle(database, acme),
    world.handle(database, { ...acme, status: 'suspended' })]
  const read = (db: typeof old): Promise<unknown[]> => db.selectFrom('projects').selectAll().execute()
  await manager.suspend({ id: acme.id })
  await read(knowing)
  await t.rejects(
    read(old),
    { code: 'FST_TENANCY_TENANT_SUSPENDED' },
    'in the epoch in which a request that knows of the suspension has passed'
  )
  await manager.resume({ id: acme.id })
  await read(old)

  await old.transaction().setIsolationLevel('repeatable read').execute(async trx => {
    await trx.selectFrom('projects').selectAll().execute()
    await manager.suspend({ id: acme.id })
    t.same(await trx.selectFrom('projects').selectAll().execute(), [], 'a snapshot from before the lockout')
  })
  await t.rejects(read(old), { code: 'FST_TENANCY_TENANT_SUSPENDED' }, 'what passed by an old snapshot')

  await admin('delete from tenancy.lockouts')
  await read(old)
  await admin(
    "insert into tenancy.lockouts (tenant, placement, reason) values (sha256($1), 'shared', 'moving')",
    [
      Buffer.from(acme.id)
    ]
  )
  await t.rejects(read(old), { code: 'FST_TENANCY_TENANT_NOT_READY' }, 'a lockout that was written by hand')
  await admin('truncate tenancy.lockouts')
  await read(old)
  // Logical replication and some tools insert under this role, which does not fire ordinary
  // triggers.
  await admin('set session_replication_role = replica')
  await admin(
    "insert into tenancy.lockouts (tenant, placement, reason) values (sha256($1), 'shared', 'moving')",
    [
      Buffer.from(acme.id)
    ]
  )
  await t.rejects(read(old), { code: 'FST_TENANCY_TENANT_NOT_READY' }, 'under another replication role')
})

t.test('while no lockout changes, each tenant is looked up once', async t => {
  const world = await lifecycleFixture(t, 'rls')
  const { manager, admin } = world
  await admin(
    "do $$ begin execute format('alter database %I set track_functions = pl', current_database()); end $$"
  )
  const [acme, globex] = [await manager.create({ slug: 'acme' }), await manager.create({ slug: 'globex' })]
  const database = await world.open()
  const read = async (tenant: typeof acme): Promise<void> => {
    await world.handle(database, tenant).selectFrom('projects').selectAll().execute()
  }
  const looked = async (): Promise<unknown> =>
    (await admin<{ calls: number }>(
      "select calls::int from pg_stat_user_functions where funcname = 'check_lockout'"
    ))[0]?.calls
  for (let time = 0; time < 5; time++) await Promise.all([read(acme), read(globex)])
  // A backend reports its function statistics when it ends.
  await database.close()
  const { username } = new URL((world.options.database as { url: string }).url)
  await until(async () =>
    (await admin('select from pg_stat_activity where usename = $1', [username])).length === 0
  )
  await until(looked)
  t.equal(await looked(), 2)
})

t.test('control: without its lockout, the same process writes for a suspended tenant', async t => {
  const world = await lifecycleFixture(t, 'rls')
  const { id } = await world.manager.create({ slug: 'acme' })
  const { write } = await startSleeper(t, world)
  await write('acme')
  await world.manager.suspend({ id })
  await world.admin('delete from tenancy.lockouts')
  t.match(await write('acme'), { code: 'written', asked: false })
})

t.test('two lockouts at once are both set and lifted under serializable as the default', async t => {
  const { manager, another, admin, superUrl } = await lifecycleFixture(t, 'rls')
  const { id } = await manager.create({ slug: 'acme' })
  await admin(
    `do $$ begin execute format('alter database %I set default_transaction_isolation = serializable', ` +
      'current_database()); end $$'
  )
  const late = another()
  const other = await connect(t, superUrl)
  for (
    const [change, call, status] of [
      ["insert into tenancy.lockouts values (sha256('globex'), 'shared', 'suspended')", 'suspend',
        'suspended'],
      ["delete from tenancy.lockouts where tenant = sha256('globex')", 'resume', 'active']
    ] as const
  ) {
    await other.query(`begin; ${change}`)
    const changed = late[call]({ id })
    await until(async () =>
      (await admin(
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' " +
          "and query like '%tenancy.lockouts%'"
      )).length === 1
    )
    await other.query('commit')
    t.match(await changed, { status })
    t.same(await admin('select from tenancy.lockouts'), status === 'active' ? [] : [{}, {}])
  }
})

t.test('a reader of the lockouts learns no id from them', async t => {
  const { manager, admin } = await lifecycleFixture(t, 'rls')
  const { id } = await manager.create({ slug: 'acme' })
  await manager.suspend({ id })
  const [row] = await admin<{ text: string }>('select lockouts::text as text from tenancy.lockouts')
  t.notMatch(row?.text ?? '', new RegExp(id.slice(0, 8)))
  t.match(row?.text ?? '', /shared,suspended/)
})
