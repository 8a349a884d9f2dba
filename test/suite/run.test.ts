import { currentScope, currentTenant } from '@fastify-tenancy/core'
import { fromEnvelope, toEnvelope, type TenantWork } from 'fastify-tenancy'
import { sql } from 'kysely'
import t from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'
import { bodies, dbIn, registered } from './work.ts'

const on = await provision(t)
const { registry, setStatus } = registered()
const logged: string[] = []
const app = await suite(t, on, {
  registry,
  database: { pool: { max: 2 } },
  resolver: { cache: { localTtl: '50ms' } },
  logStream: {
    write: line => {
      logged.push(line)
    }
  }
})
app.get('/outer', async request => {
  const seen = [currentTenant()?.slug]
  await app.tenancy.run({ slug: 'globex' }, async () => {
    seen.push(currentTenant()?.slug)
  })
  await request.cache.set('after', 1)
  seen.push(currentTenant()?.slug, request.tenant.slug)
  return seen
})
app.get('/notes', async request => dbOf(request).selectFrom('notes').select('body').execute())
// A callback that a handler leaves to run after its reply, with the handles of the request.
let afterwards: () => Promise<unknown> = async () => {}
app.get('/late', async request => {
  afterwards = async () => dbOf(request).selectFrom('notes').selectAll().execute()
  return {}
})
app.get('/late-run', async request => {
  const { id } = request.tenant
  afterwards = async () =>
    app.tenancy.run({ id }, async work => dbIn(work).selectFrom('notes').select('body').execute())
  return {}
})
await app.ready()

t.beforeEach(async () => {
  await on.admin('truncate notes')
  await on.admin(
    "insert into notes (tenant_id, body) values ('id-acme', 'acme:1'), ('id-globex', 'globex:1')"
  )
})

t.test('a run has its tenant’s handles and is the current scope for all it awaits', async t => {
  for (const ref of [{ slug: 'acme' }, { id: 'id-acme' }]) {
    const seen = await app.tenancy.run(ref, async work => {
      const { tenant, cache } = work
      await cache.set('k', 'acme:cached')
      const rows = await dbIn(work).selectFrom('notes').select('body').execute()
      return { slug: tenant.slug, current: currentTenant()?.slug, rows, cached: await cache.get('k') }
    })
    t.same(seen, { slug: 'acme', current: 'acme', rows: [{ body: 'acme:1' }], cached: 'acme:cached' })
  }
  t.equal(
    await app.tenancy.run({ slug: 'globex' }, async ({ cache }) => cache.get('k')),
    undefined,
    'control: the cache is the tenant’s too'
  )
  t.equal(currentScope(), undefined)
  await app.tenancy.run({ slug: 'acme' }, ({ log }) => {
    log.info({}, 'from the run')
  })
  t.match(logged.find(line => line.includes('from the run')), /"tenant":"id-acme"/)
})

t.test("run() and invalidate() without a tenant's name say so", async t => {
  for (const ref of [{}, null, 'acme', { slug: 5 }, ['acme'], { slg: 'acme' }]) {
    await t.rejects(app.tenancy.run(ref as never, async () => {}), {
      code: 'FST_TENANCY_OPTION_INVALID',
      message: /^the tenant of run\(\) must be \{ id \} or \{ slug \}/
    }, JSON.stringify(ref))
    await t.rejects(app.tenancy.invalidate(ref as never), {
      code: 'FST_TENANCY_OPTION_INVALID',
      message: /^the tenant of invalidate\(\) must be/
    }, JSON.stringify(ref))
  }
})

t.test('a run inside a request leaves the request’s scope as it was', async t => {
  const { body } = await app.inject({ url: '/outer', headers: { host: 'acme.example.com' } })
  t.equal(body, JSON.stringify(['acme', 'globex', 'acme', 'acme']))
})

t.test('a run is refused for the tenants that a request is refused for', async t => {
  const touched: string[] = []
  const run = (ref: object, options?: object): Promise<unknown> =>
    app.tenancy.run(ref as { id: string }, ({ tenant }) => {
      touched.push(tenant.slug)
    }, options)
  await t.rejects(run({ slug: 'nobody' }), { code: 'FST_TENANCY_TENANT_UNKNOWN' })
  await t.rejects(run({ id: 'id-gone' }), { code: 'FST_TENANCY_TENANT_UNKNOWN' })
  await t.rejects(run({ slug: 'hooli' }), { code: 'FST_TENANCY_TENANT_SUSPENDED' })
  await t.rejects(run({ slug: 'gone' }, { allow: ['suspended'] }), { code: 'FST_TENANCY_TENANT_UNKNOWN' })
  t.same(touched, [])
  await run({ slug: 'hooli' }, { allow: ['suspended'] })
  t.same(touched, ['hooli'])
  for (
    const [ref, options] of [[{}], [undefined], [{ id: 7 }], [{ slug: 'acme' }, { allow: 'suspended' }], [{
      slug: 'acme'
    }, { transactions: true }]] as [object, object?][]
  ) {
    await t.rejects(run(ref, options), { code: 'FST_TENANCY_OPTION_INVALID' })
  }
})

t.test("CTX-06 POOL-12 a run's handle, cache and scope are closed after it", async t => {
  const work = await app.tenancy.run(
    { slug: 'acme' },
    kept => ({ kept, scope: currentScope(), db: dbIn(kept) })
  )
  t.ok(work.scope?.isClosed)
  t.throws(() => work.kept.db, { code: 'FST_TENANCY_SCOPE_CLOSED' })
  t.throws(() => work.kept.cache, { code: 'FST_TENANCY_SCOPE_CLOSED' })
  await t.rejects(work.db.selectFrom('notes').selectAll().execute(), { code: 'FST_TENANCY_SCOPE_CLOSED' })
})

t.test('CTX-06 behind the reply request.db is closed, and a run of its own is served', async t => {
  const headers = { host: 'acme.example.com' }
  await app.inject({ url: '/late', headers })
  await t.rejects(afterwards(), { code: 'FST_TENANCY_SCOPE_CLOSED' })
  await app.inject({ url: '/late-run', headers })
  t.same(await afterwards(), [{ body: 'acme:1' }])
})

t.test('a run stays open for its waitUntil() promises', async t => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const { db, scope } = await app.tenancy.run({ slug: 'acme' }, work => {
    const current = currentScope()
    current?.waitUntil(promise)
    return { db: dbIn(work), scope: current }
  })
  t.equal((await db.selectFrom('notes').selectAll().execute()).length, 1)
  resolve()
  await until(() => scope?.isClosed)
})

async function insert (work: TenantWork, body: string): Promise<void> {
  await dbIn(work).insertInto('notes').values({ body }).execute()
}

t.test('transaction: true commits when the run resolves and rolls back otherwise', async t => {
  await app.tenancy.run({ slug: 'acme' }, async work => {
    await insert(work, 'acme:2')
    t.same(await bodies(on), ['acme:1', 'globex:1'], 'others see nothing before the end')
  }, { transaction: true })
  t.same(await bodies(on), ['acme:1', 'acme:2', 'globex:1'])

  const boom = new Error('boom')
  await t.rejects(
    app.tenancy.run({ slug: 'acme' }, async work => {
      await insert(work, 'acme:3')
      throw boom
    }, { transaction: true }),
    boom
  )
  await t.rejects(app.tenancy.run({ slug: 'acme' }, async work => {
    await insert(work, 'acme:4')
    await dbIn(work).insertInto('notes').values({ id: 'no number' as never, body: 'x' }).execute().catch(
      () => {}
    )
  }, { transaction: true }))
  await app.tenancy.run({ slug: 'acme' }, async work => {
    await insert(work, 'acme:5')
    currentScope()?.transaction?.rollbackOnly()
  }, { transaction: true })
  await app.tenancy.run({ slug: 'acme' }, () => {}, { transaction: true })
  t.same(await bodies(on), ['acme:1', 'acme:2', 'globex:1'])

  await app.tenancy.run({ slug: 'acme' }, async work => {
    await insert(work, 'acme:6')
    throw boom
  }).catch(() => {})
  t.same(
    await bodies(on),
    ['acme:1', 'acme:2', 'acme:6', 'globex:1'],
    'control: without it each statement stands for itself'
  )
})

t.test('TXN-01 what a run caches in its transaction is visible only after the commit', async t => {
  const cached = (): Promise<unknown> => app.tenancy.run({ slug: 'acme' }, ({ cache }) => cache.get('txn'))
  await app.tenancy.run({ slug: 'acme' }, async work => {
    await insert(work, 'acme:cached')
    await work.cache.set('txn', 'rolled back')
    currentScope()?.transaction?.rollbackOnly()
  }, { transaction: true })
  t.equal(await cached(), undefined)
  await app.tenancy.run({ slug: 'acme' }, async work => {
    await insert(work, 'acme:cached')
    await work.cache.set('txn', 'committed')
    t.equal(await cached(), undefined)
  }, { transaction: true })
  t.equal(await cached(), 'committed')
})

t.test('LIF-04 a run ends with the reason when its tenant is suspended', async t => {
  t.teardown(async () => {
    await setStatus('id-globex', 'active')
    await app.tenancy.invalidate({ id: 'id-globex' })
  })
  const { promise: begun, resolve: begin } = Promise.withResolvers<AbortSignal>()
  const run = app.tenancy.run({ slug: 'globex' }, async work => {
    begin(work.signal)
    await sql`select pg_sleep(30)`.execute(dbIn(work))
  }, { transaction: true })
  run.catch(() => {})
  const signal = await begun
  await until(async () =>
    (await on.admin(
      "select from pg_stat_activity where datname = current_database() and query like '%pg_sleep(30)%' " +
        "and state = 'active' and pid <> pg_backend_pid()"
    )).length === 1
  )
  await setStatus('id-globex', 'suspended')
  await app.tenancy.invalidate({ id: 'id-globex' })
  await t.rejects(run, { code: 'FST_TENANCY_TENANT_SUSPENDED' })
  t.ok(signal.aborted)
  await until(async () =>
    (await on.admin(
      "select from pg_stat_activity where datname = current_database() and query like '%pg_sleep(30)%' " +
        "and state = 'active' and pid <> pg_backend_pid()"
    )).length === 0
  )
  await t.rejects(app.tenancy.run({ slug: 'globex' }, () => {}), { code: 'FST_TENANCY_TENANT_SUSPENDED' })
})

t.test('a run for suspended tenants survives a suspension and ends at a deletion', async t => {
  t.teardown(() => setStatus('id-initech', 'active').then(() => app.tenancy.invalidate({ id: 'id-initech' })))
  await t.rejects(
    app.tenancy.run({ slug: 'initech' }, async work => {
      await setStatus('id-initech', 'suspended')
      await app.tenancy.invalidate({ id: 'id-initech' })
      // Waits until the revalidation that this event began has read the registry.
      await app.tenantResolver.find({ id: 'id-initech' })
      await dbIn(work).selectFrom('notes').selectAll().execute()
      t.notOk(work.signal.aborted)
      await setStatus('id-initech', 'deleted')
      await app.tenancy.invalidate({ id: 'id-initech' })
      await until(() => work.signal.aborted)
      work.signal.throwIfAborted()
    }, { allow: ['suspended'] }),
    { code: 'FST_TENANCY_TENANT_UNKNOWN' }
  )
})

t.test('a run that swallows its end is not committed', async t => {
  t.teardown(() => setStatus('id-initech', 'active').then(() => app.tenancy.invalidate({ id: 'id-initech' })))
  await t.rejects(
    app.tenancy.run({ slug: 'initech' }, async work => {
      await dbIn(work).insertInto('notes').values({ body: 'initech:1' }).execute()
      await setStatus('id-initech', 'deleting')
      await app.tenancy.invalidate({ id: 'id-initech' })
      await until(() => work.signal.aborted)
    }, { transaction: true }),
    { code: 'FST_TENANCY_TENANT_UNKNOWN' }
  )
  t.notOk((await bodies(on)).includes('initech:1'))
})

t.test('a job’s envelope holds the id alone, and its status is checked when it is run', async t => {
  const envelope = await app.tenancy.run({ slug: 'initech' }, () => toEnvelope())
  t.equal(JSON.stringify(envelope), '{"v":1,"tenant":"id-initech"}')
  const job = JSON.parse(JSON.stringify(envelope)) as unknown
  t.equal(await app.tenancy.run(fromEnvelope(job), ({ tenant }) => tenant.slug), 'initech')
  t.same(app.tenancy.fromEnvelope(app.tenancy.toEnvelope({ id: 'id-acme' })), { id: 'id-acme' })
  await setStatus('id-initech', 'suspended')
  await app.tenancy.invalidate({ id: 'id-initech' })
  await t.rejects(app.tenancy.run(fromEnvelope(job), () => {}), { code: 'FST_TENANCY_TENANT_SUSPENDED' })
  await setStatus('id-initech', 'active')
  await app.tenancy.invalidate({ id: 'id-initech' })

  t.throws(() => toEnvelope(), { code: 'FST_TENANCY_CONTEXT_MISSING' })
  for (
    const wrong of [undefined, null, 'id-acme', {}, { v: 2, tenant: 'id-acme' }, { v: 1, tenant: '' }, {
      v: 1,
      tenant: "x'; --"
    }, { v: 1, tenant: ['id-acme'] }]
  ) {
    t.throws(() => fromEnvelope(wrong), { code: 'FST_TENANCY_CONTEXT_MISSING' }, JSON.stringify(wrong))
  }
})
