import { createTenancy, currentScope, defineTenancy, type TenancyLogger } from 'fastify-tenancy'
import t from 'tap'

import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'
import { dbIn, registered } from './work.ts'

const on = await provision(t)
await on.admin("insert into notes (tenant_id, body) values ('id-acme', 'acme:1'), ('id-globex', 'globex:1')")
const { registry } = registered()
const options = defineTenancy({
  baseDomain: 'example.com',
  database: { url: on.url },
  tables: on.tables,
  registry,
  rls: { secret: on.secret ?? '' }
})
const connections = async (): Promise<number> =>
  (await on.admin('select from pg_stat_activity where usename = $1', [
    decodeURIComponent(new URL(on.url).username)
  ])).length

t.test('without Fastify: the same object, and close() leaves nothing behind', async t => {
  const lines: object[] = []
  const log: TenancyLogger = {
    info: details => {
      lines.push(details)
    },
    warn: details => {
      lines.push(details)
    },
    error () {},
    child: ({ tenant }) => ({
      ...log,
      info: (details: object) => {
        lines.push({ ...details, tenant })
      }
    })
  }
  const tenancy = await createTenancy(options, { log })
  const rows = await tenancy.run({ slug: 'acme' }, async work => {
    work.log.info({ at: 'work' }, 'hello')
    await work.cache.set('k', 'v')
    return dbIn(work).selectFrom('notes').select('body').execute()
  })
  t.same(rows, [{ body: 'acme:1' }])
  t.match(lines, [{ isolationLevel: /^L\d$/ }, { at: 'work', tenant: 'id-acme' }])
  t.same(await tenancy.forEach({}, () => {}), { done: 3, failed: 0 })
  t.equal(await tenancy.isKnownHost('acme.example.com'), true)
  t.equal(tenancy.health().status, 'ok')
  t.ok(await connections() > 0)
  await tenancy.close()
  await until(async () => await connections() === 0)
  await t.rejects(
    tenancy.run({ slug: 'acme' }, async work => dbIn(work).selectFrom('notes').selectAll().execute())
  )
})

t.test("close() waits for a run's waitUntil() promises", async t => {
  const tenancy = await createTenancy(options)
  const { promise, resolve } = Promise.withResolvers<void>()
  let rows: Promise<unknown> = Promise.resolve()
  await tenancy.run({ slug: 'acme' }, work => {
    const db = dbIn(work)
    rows = promise.then(() => db.selectFrom('notes').select('body').execute())
    currentScope()?.waitUntil(rows)
  })
  const closed = tenancy.close()
  setImmediate(resolve)
  await closed
  t.same(await rows, [{ body: 'acme:1' }])
})

t.test('close() waits for a run that is under way', async t => {
  const tenancy = await createTenancy({ ...options, cache: false })
  const { promise, resolve } = Promise.withResolvers<void>()
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
  const run = tenancy.run({ slug: 'acme' }, async work => {
    begin()
    await promise
    t.notOk('cache' in work)
    return dbIn(work).selectFrom('notes').select('body').execute()
  })
  await begun
  const closed = tenancy.close()
  setImmediate(resolve)
  await closed
  t.same(await run, [{ body: 'acme:1' }])
})

t.test('two processes over one Redis share cached values and invalidations', {
  skip: noRedis
}, async t => {
  const redis = freshRedisOptions()
  const [first, second] = await Promise.all([createTenancy({ ...options, redis, namespace: 'test' }),
    createTenancy({ ...options, redis, namespace: 'test' })])
  t.teardown(() => Promise.all([first.close(), second.close()]))
  await first.run({ slug: 'acme' }, ({ cache }) => cache.set('k', 'from the first'))
  t.equal(await second.run({ slug: 'acme' }, ({ cache }) => cache.get('k')), 'from the first')
  const acme = await registry.findById('id-acme')
  await registry.update('id-acme', acme?.version ?? 0, { status: 'suspended' })
  await second.invalidate({ id: 'id-acme' })
  await until(() =>
    first.run({ slug: 'acme' }, () => {}).then(
      () => false,
      (error: { code: string }) => error.code === 'FST_TENANCY_TENANT_SUSPENDED'
    )
  )
  await registry.update('id-acme', (acme?.version ?? 0) + 1, { status: 'active' })
})

t.test('a failed boot closes all that it opened', async t => {
  await t.rejects(
    createTenancy({ ...options, rls: { secret: 'another secret of at least 32 characters' } }),
    { code: 'FST_TENANCY_SETUP_INVALID' }
  )
  await until(async () => await connections() === 0)
  await t.rejects(createTenancy({ ...options, baseDomian: 'example.com' } as never), {
    code: 'FST_TENANCY_OPTION_INVALID'
  })
})
