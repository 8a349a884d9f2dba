// Operations of several steps: what a failed one leaves, which caller may resume it, and which may
// not run beside it.
import t from 'tap'

import { connect } from '../support/sql.ts'
import { until } from '../support/until.ts'
import { lifecycleFixture } from './lifecycle-fixture.ts'

const conflict = (message: RegExp): { code: string; message: RegExp } => ({
  code: 'FST_TENANCY_TENANT_CONFLICT',
  message
})

t.test('a failed creation stays provisioning and resumes with the same call', async t => {
  const world = await lifecycleFixture(t, 'schema')
  const { admin } = world
  const calls: string[] = []
  let isBroken = true
  const manager = world.another({
    seed: async () => {
      calls.push('seed')
    },
    lifecycle: {
      steps: [
        {
          name: 'bucket',
          create: async ({ tenant }) => {
            calls.push(`bucket ${tenant.slug} ${tenant.status}`)
          }
        },
        {
          name: 'index',
          create: async () => {
            calls.push('index')
            if (isBroken) throw new Error('the search server is down')
          }
        }
      ]
    }
  })
  await t.rejects(manager.create({ slug: 'acme' }), { message: 'the search server is down' })
  t.equal((await manager.get({ slug: 'acme' }))?.status, 'provisioning')
  t.same(await admin('select kind, done, error from tenancy.operations'), [{
    kind: 'create',
    done: ['provision', 'migrate', 'user:bucket'],
    error: 'user:index: the search server is down'
  }])
  await t.rejects(
    manager.suspend({ slug: 'acme' }),
    conflict(/a create of this tenant is not finished: call it again first/)
  )
  await t.rejects(
    manager.create({ slug: 'acme', isolation: 'rls' }),
    conflict(/taken/),
    'as something else it cannot go on'
  )
  isBroken = false
  t.match(await manager.create({ slug: 'acme' }), { status: 'active', isolation: 'schema' })
  t.same(calls, ['bucket acme provisioning', 'index', 'index', 'seed'])
  t.match(await admin('select error, finished_at is not null as finished from tenancy.operations'), [{
    error: null,
    finished: true
  }])
})

t.test('a creation that failed for good is deleted without a grace period', async t => {
  const world = await lifecycleFixture(t, 'schema')
  const manager = world.another({
    seed: async () => {
      throw new Error('never')
    }
  })
  await t.rejects(manager.create({ slug: 'acme' }), { message: 'never' })
  const { due } = await manager.delete({ slug: 'acme' })
  t.ok(due.getTime() <= Date.now())
  await t.rejects(
    manager.resume({ slug: 'acme' }),
    conflict(/deleted before it was active: purge it, then create it again/)
  )
  t.match(await manager.purgeDue(), {
    purged: [{ tenant: { slug: 'acme', status: 'deleted' } }],
    failed: { length: 0 }
  })
  t.same(await world.admin("select nspname from pg_namespace where nspname like 'tenant\\_%'"), [])
})

t.test('a password in the URL of an error is not written down', async t => {
  const world = await lifecycleFixture(t)
  const manager = world.another({
    seed: async () => {
      throw new Error(
        'cannot reach amqp://me:hunter2@queue:5672/x, nor postgres://db/x?password=hunter2&sslmode=off'
      )
    }
  })
  await t.rejects(manager.create({ slug: 'acme' }), /hunter2/, 'control: the caller has the error as it was')
  t.same(await world.admin('select error from tenancy.operations'), [{
    error: 'seed: cannot reach amqp://me:***@queue:5672/x, nor postgres://db/x?password=***&sslmode=off'
  }])
})

t.test('LIF-02 one manager works on a tenant, and a lost lock stops it at the next step', async t => {
  const world = await lifecycleFixture(t, 'schema')
  const { admin } = world
  const { promise: entered, resolve: enter } = Promise.withResolvers<void>()
  const { promise: mayGo, resolve: go } = Promise.withResolvers<void>()
  let isFirst = true
  const steps = [{
    name: 'slow',
    create: async () => {
      if (isFirst) {
        isFirst = false
        enter()
        await mayGo
      }
    }
  }]
  const [one, two] = [world.another({ lifecycle: { steps } }), world.another({ lifecycle: { steps } })]
  const creating = one.create({ slug: 'acme' })
  await entered
  await t.rejects(two.create({ slug: 'acme' }), conflict(/of this slug is being created at this moment/))
  await t.rejects(
    two.delete({ slug: 'acme' }),
    conflict(/another process is at work on this tenant at this moment/)
  )
  await t.rejects(
    one.delete({ slug: 'acme' }),
    conflict(/another process is at work/),
    'nor the same manager beside itself'
  )
  await admin(loseLocks)
  t.equal((await two.create({ slug: 'acme' })).status, 'active')
  go()
  await t.rejects(creating, /the connection that holds the tenant's lock was lost: call again/)
  t.equal((await one.get({ slug: 'acme' }))?.status, 'active')
})

const loseLocks = "select pg_terminate_backend(pid, 5000) from pg_locks where locktype = 'advisory' and " +
  'database = (select oid from pg_database where datname = current_database())'

t.test('a step during which the lock was lost is not recorded as done', async t => {
  const { admin, another } = await lifecycleFixture(t)
  const manager = another({
    lifecycle: {
      steps: [{
        name: 'first',
        create: async () => {
          await admin(loseLocks)
        }
      }]
    }
  })
  await t.rejects(manager.create({ slug: 'acme' }), /the connection that holds the tenant's lock was lost/)
  t.match(await admin('select done, error from tenancy.operations'), [{
    done: ['provision', 'migrate'],
    error: /^user:first: the connection that holds the tenant's lock was lost/
  }])
})

t.test('no step begins after the lock was lost', async t => {
  const { admin, another, superUrl } = await lifecycleFixture(t)
  const blocker = await connect(t, superUrl)
  const calls: string[] = []
  const manager = another({
    lifecycle: {
      steps: [
        {
          name: 'first',
          create: async () => {
            await blocker.query('begin; lock table tenancy.operations in share mode')
          }
        },
        {
          name: 'second',
          create: async () => {
            calls.push('second')
          }
        }
      ]
    }
  })
  const creating = manager.create({ slug: 'acme' })
  creating.catch(() => {})
  await until(async () =>
    (await admin("select from pg_locks where relation = 'tenancy.operations'::regclass and not granted"))
      .length > 0
  )
  await admin(loseLocks)
  await blocker.query('rollback')
  await t.rejects(creating, /the connection that holds the tenant's lock was lost/)
  t.match(await admin('select done from tenancy.operations'), [{
    done: ['provision', 'migrate', 'user:first']
  }])
  t.same(calls, [])
})

t.test('wrong options of the lifecycle are named', async t => {
  const world = await lifecycleFixture(t)
  for (
    const [more, message] of [
      [{ lifecycle: { steps: [{ name: 'a' }, { name: 'a' }] } },
        /options\.lifecycle\.steps must be steps of different names/],
      [{ lifecycle: { steps: [{ name: 'a', make: () => {} }] } },
        /options\.lifecycle\.steps\.0\.make is not a known option/],
      [{ lifecycle: { wait: 60 } }, /options\.lifecycle\.wait must be a duration/],
      [{ seed: 'rows.sql' }, /options\.seed must be a function/],
      [{ redis: 'http://x' }, /options\.redis must be a redis/]
    ] as const
  ) t.throws(() => world.another(more as never), { code: 'FST_TENANCY_OPTION_INVALID', message })
})
