// How a change of a tenant reaches another, real process.
import { postgresRegistry } from '@fastify-tenancy/database'
import { createManager } from '@fastify-tenancy/manager'
import { openResolver, resolveResolverOptions, type TenantResolver } from '@fastify-tenancy/resolver'
import { Redis, type RedisOptions } from 'ioredis'
import pg from 'pg'
import t, { type Test } from 'tap'

import { CountingPostgresRegistry, countingTables } from '../support/counting-registry.ts'
import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import { startRedis } from '../support/services.ts'
import { suiteProcesses, type SuiteProcess } from '../support/suite-processes.ts'
import { provision } from '../support/tenants.ts'

const on = await provision(t)
await on.admin(
  `${countingTables} insert into counted_tenants values ('id-acme', 'acme'), ('id-globex', 'globex')`
)
const pool = new pg.Pool({ connectionString: on.superUrl, max: 1 })
t.teardown(() => pool.end())
await postgresRegistry(pool).insert({ id: 'id-acme', slug: 'acme' })

/** No cache entry expires during a test, so only a received change can replace it. */
const long = { ttl: '1h', localTtl: '1h' }
const host = 'acme.example.com'

/** Returns a process with the suite that has served acme. */
async function served (
  t: Test,
  options: Parameters<typeof suiteProcesses>[3],
  given = on
): Promise<SuiteProcess> {
  const [app] = await suiteProcesses(t, 1, given, options) as [SuiteProcess]
  const [answer] = Object.keys(await app.tell('ask', host, '/', 1))
  t.match(answer, '200 {"slug":"acme"')
  return app
}

/** A resolver in this process whose registry reports no changes. */
async function teller (t: Test, redis: RedisOptions | string): Promise<TenantResolver> {
  const { resolver, close } = openResolver(
    resolveResolverOptions({
      registry: new CountingPostgresRegistry(pool),
      baseDomain: 'example.com',
      redis,
      namespace: 'test'
    })
  )
  t.teardown(close)
  await resolver.start()
  return resolver
}

const setCounted = (plan: string): Promise<unknown> =>
  on.admin('update counted_tenants set plan = $1', [plan])
const setPlan = (plan: string): Promise<unknown> => on.admin('update tenancy.tenants set plan = $1', [plan])

/** Makes a change ten times and returns how long each took to reach the process. */
async function measure (
  t: Test,
  app: SuiteProcess,
  change: (plan: string) => Promise<unknown>
): Promise<void> {
  const times: number[] = []
  for (let round = 0; round < 10; round++) {
    const heard = app.tell('waitFor', host, `"plan":"p${round}"`)
    await change(`p${round}`)
    const began = Date.now()
    times.push(await heard - began)
  }
  times.sort((a, b) => a - b)
  t.comment(`seen by the other process after ${times[5]} ms at p50, ${times[9]} ms at most`)
}

t.test('REG-08 a change reaches a second process through Redis, although its copy would live for an hour', {
  skip: noRedis
}, async t => {
  const redis = freshRedisOptions()
  const app = await served(t, { redis, isCounted: true, resolver: { cache: long } })
  const told = await teller(t, redis)
  await setCounted('silent')
  t.same(
    await app.tell('ask', host, '/', 1),
    { '200 {"slug":"acme","plan":"free"}': 1 },
    'the control: untold, it goes on with its copy'
  )
  await measure(t, app, async plan => {
    await setCounted(plan)
    await told.invalidate({ id: 'id-acme' })
  })
})

t.test(
  'REG-08 with the message lost, a change reaches a process within localTtl',
  { skip: noRedis },
  async t => {
    const server = await startRedis()
    t.teardown(() => server.stop())
    const admin = new Redis(server.url)
    t.teardown(() => {
      admin.disconnect()
    })
    // This login may use no channel, so it receives no message.
    await admin.call('ACL', 'SETUSER', 'deaf', 'on', '>secret', '~*', '+@all', 'resetchannels')
    const app = await served(t, {
      redis: `redis://deaf:secret@127.0.0.1:${server.port}`,
      isCounted: true,
      resolver: { cache: { localTtl: '1s' } }
    })
    const told = await teller(t, server.url)
    const heard = app.tell('waitFor', host, '"plan":"late"')
    await setCounted('late')
    await told.invalidate({ id: 'id-acme' })
    const began = Date.now()
    t.comment(`seen after ${await heard - began} ms, localTtl is 1000 ms`)
  }
)

t.test('REG-08 without Redis a manual write reaches other processes by LISTEN', async t => {
  const app = await served(t, { resolver: { cache: long } })
  await measure(t, app, setPlan)
  const heard = app.tell('waitFor', host, '"plan":"unheard"')
  const ended = await on.admin(
    'select pg_terminate_backend(pid, 1000) from pg_stat_activity where datname = current_database() ' +
      "and query = 'listen tenancy'"
  )
  t.equal(ended.length, 1)
  await setPlan('unheard') // the listener reconnects after 50 ms at the earliest
  await heard
})

t.test('REG-08 with Redis, a write by hand ends the record there too', { skip: noRedis }, async t => {
  const app = await served(t, { redis: freshRedisOptions(), resolver: { cache: long } })
  await measure(t, app, setPlan)
})

t.test('REG-08 through a pooler LISTEN gets nothing: boot warns, and localTtl is the bound', {
  skip: noPgBouncer
}, async t => {
  const pooled = await pgBouncer(t, on.registryUrl)
  const app = await served(t, { resolver: { cache: { localTtl: '200ms' } } }, { ...on, registryUrl: pooled })
  t.match(app.log, /where LISTEN receives nothing/)
  const heard = app.tell('waitFor', host, '"plan":"pooled"')
  await setPlan('pooled')
  await heard
  t.equal(
    (await on.admin(
      "select from pg_stat_activity where datname = current_database() and query = 'listen tenancy'"
    )).length,
    0
  )
})

t.test("CHG-01 through a pooler, manager's changes reach every process by Redis", {
  skip: noRedis || noPgBouncer
}, async t => {
  const pooled = await pgBouncer(t, on.registryUrl)
  const redis = freshRedisOptions()
  const app = await served(t, { redis, resolver: { cache: long } }, { ...on, registryUrl: pooled })
  t.match(app.log, /where LISTEN receives nothing/, 'control: it hears nothing of the database')
  const manager = createManager({
    database: { url: on.url, ownerUrl: on.ownerUrl },
    tables: on.tables,
    rls: { secret: on.secret ?? '' },
    redis
  })
  t.teardown(() => manager.close())
  const acme = { id: 'id-acme' }
  const seen = async (part: string, change: () => Promise<unknown>): Promise<void> => {
    const heard = app.tell('waitFor', host, part)
    await change()
    await heard
    t.pass(part)
  }
  await seen('TENANT_SUSPENDED', () => manager.suspend(acme))
  await seen('"slug":"acme"', () => manager.resume(acme))
  await seen('"plan":"told"', () => manager.update(acme, { plan: 'told' }))
  await seen('TENANT_UNKNOWN', () => manager.rename(acme, 'apex'))
  await seen('"slug":"acme"', () => manager.rename(acme, 'acme'))
  t.same(Object.keys(await app.tell('ask', 'newcomer.example.com', '/', 1)), [
    '404 {"statusCode":404,"code":"FST_TENANCY_TENANT_UNKNOWN","error":"Not Found","message":"There ' +
    'is no such tenant"}'
  ])
  const created = app.tell('waitFor', 'newcomer.example.com', '"slug":"newcomer"')
  await manager.create({ slug: 'newcomer' })
  await created
  await seen('TENANT_UNKNOWN', () => manager.delete(acme))
  await seen('"slug":"acme"', () => manager.resume(acme))
})
