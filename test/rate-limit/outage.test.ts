import { Redis } from 'ioredis'
import t, { type Test } from 'tap'

import { toTenant } from '@fastify-tenancy/core'
import { openRedis, type TenancyRedis } from '@fastify-tenancy/redis'
import type { RateLimitOptions } from '@fastify-tenancy/rate-limit'

import { noRedis } from '../support/fresh.ts'
import { startRedis, type RedisService } from '../support/services.ts'
import { until } from '../support/until.ts'
import { get, startApp, statuses } from './app.ts'

const limits = { default: { rpm: 10 } }

async function ownRedis (t: Test): Promise<RedisService> {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  return redis
}

t.test(
  'RL-10 when Redis dies in mid-window, a process admits no more than its share',
  { skip: noRedis },
  async t => {
    const service = await ownRedis(t)
    const app = await startApp(t, { limits, redis: service.url })
    t.same(await statuses(app, 'acme', 6), Array(6).fill(200))
    t.equal(app.tenantRateLimit.health().store, 'redis')
    await service.stop()
    const after = await statuses(app, 'acme', 8)
    t.same(after, [200, 200, 200, 200, 429, 429, 429, 429])
    t.equal(app.tenantRateLimit.health().store, 'local')
    t.same(await statuses(app, 'globex', 11), [...Array<number>(10).fill(200), 429])
  }
)

t.test('RL-10 without Redis two processes each count against half of the remaining limit', {
  skip: noRedis
}, async t => {
  const service = await ownRedis(t)
  // A long timeout, so that on a busy machine the second process is still counted.
  const redis = { host: '127.0.0.1', port: service.port, commandTimeout: 2_000 }
  const apps = [await startApp(t, { limits, redis }), await startApp(t, { limits, redis })]
  // The first process sees the second at its next heartbeat, after 5 s. The second sees both.
  await service.stop()
  t.same(await statuses(apps[1]!, 'acme', 6), [200, 200, 200, 200, 200, 429])
})

t.test('RED-02 few requests wait for a frozen Redis, then none', { skip: noRedis }, async t => {
  const service = await ownRedis(t)
  const app = await startApp(t, { limits: { default: { rpm: 1_000 } }, redis: service.url })
  await get(app, 'acme')
  const raw = new Redis(service.url)
  t.teardown(() => {
    raw.disconnect()
  })
  await raw.config('RESETSTAT')
  service.process.kill('SIGSTOP')
  t.teardown(() => service.process.kill('SIGCONT'))
  t.same(await statuses(app, 'acme', 100), Array(100).fill(200))
  service.process.kill('SIGCONT')
  const sent = Number(/cmdstat_evalsha:calls=(\d+)/.exec(await raw.info('commandstats'))?.[1])
  // Five commands opened the breaker, one probe a second followed, and one command wrote the
  // outage's admissions back.
  t.ok(sent >= 5 && sent <= 20, `${sent} scripts for a hundred requests`)
  await until(async () => {
    await get(app, 'globex')
    return app.tenantRateLimit.health().store === 'redis'
  })
})

t.test(
  'without Redis at boot the app starts, counts alone, and joins Redis when it comes',
  { skip: noRedis },
  async t => {
    const service = await ownRedis(t)
    await service.stop()
    const app = await startApp(t, { limits, redis: service.url })
    t.same(await statuses(app, 'acme', 11), [...Array<number>(10).fill(200), 429])
    const again = await startRedis({ port: service.port })
    t.teardown(() => again.stop())
    await until(async () => {
      await get(app, 'globex')
      return app.tenantRateLimit.health().store === 'redis'
    })
  }
)

t.test('while Redis refuses writes, an answered request that counts nothing ends no outage', {
  skip: noRedis
}, async t => {
  const service = await ownRedis(t)
  let log = ''
  const stream = {
    write (line: string) {
      log += line
    }
  }
  const app = await startApp(t, { limits, redis: service.url }, {
    logger: { level: 'info', stream },
    routes: app => app.get('/free', { config: { tenancy: { cost: 0 } } }, async () => ({}))
  })
  const ends = (): number => log.split('counted in Redis again').length - 1
  const admin = new Redis(service.url)
  t.teardown(() => {
    admin.disconnect()
  })
  const setReplicas = (count: number): Promise<unknown> =>
    admin.config('SET', 'min-replicas-to-write', `${count}`)
  t.same(await statuses(app, 'acme', 2), [200, 200])
  await setReplicas(1)
  t.same(await statuses(app, 'acme', 2), [200, 200])
  t.equal(app.tenantRateLimit.health().store, 'local')
  t.equal((await get(app, 'acme', '/free')).status, 200)
  t.equal(app.tenantRateLimit.health().store, 'local')
  t.equal(ends(), 0)
  await setReplicas(0)
  await until(async () => {
    await get(app, 'globex')
    return app.tenantRateLimit.health().store === 'redis'
  })
  await get(app, 'globex')
  t.equal(ends(), 1, 'the end of the outage is logged once')
})

t.test("onStoreError 'open' lets all pass, 'closed' answers 503, and both without a word about Redis", {
  skip: noRedis
}, async t => {
  const service = await ownRedis(t)
  const start = (onStoreError: RateLimitOptions['onStoreError']): ReturnType<typeof startApp> =>
    startApp(t, {
      limits: { default: { rpm: 1 } },
      redis: service.url,
      onStoreError: onStoreError ?? 'local'
    }, {
      routes: app => app.get('/free', { config: { tenancy: { cost: 0 } } }, async () => ({}))
    })
  const [open, closed] = [await start('open'), await start('closed')]
  await service.stop()
  t.same(await statuses(open, 'acme', 3), [200, 200, 200])
  const refused = await get(closed, 'acme')
  t.equal(refused.status, 503)
  t.same(refused.body, {
    statusCode: 503,
    code: 'FST_TENANCY_RATE_LIMIT_UNAVAILABLE',
    error: 'Service Unavailable',
    message: 'The rate limit cannot be checked at the moment'
  })
  t.equal(refused.headers['retry-after'], '1')
  t.same(await statuses(closed, 'acme', 1, '/free'), [200])
})

t.test('a tenant over its limit costs Redis nothing', { skip: noRedis }, async t => {
  const service = await ownRedis(t)
  let runs = 0
  const real = openRedis(service.url)
  t.teardown(() => real.close())
  await real.ready()
  const counted: TenancyRedis = {
    get isAvailable () {
      return real.isAvailable
    },
    isCluster: false,
    get: key => real.get(key),
    mget: keys => real.mget(keys),
    set: (...all) => real.set(...all),
    del: (...keys) => real.del(...keys),
    run: (...all) => {
      runs++
      return real.run(...all)
    },
    removeAll: prefix => real.removeAll(prefix),
    publish: (...all) => real.publish(...all),
    subscribe: (...all) => real.subscribe(...all),
    ready: () => real.ready(),
    health: () => real.health(),
    state: () => real.state(),
    close: () => real.close()
  }
  const app = await startApp(t, {
    limits: { default: { rpm: 2, perClient: 1 }, tenants: { globex: { rpm: 2 } } },
    redis: counted
  }, {
    routes: app => app.get('/free', { config: { tenancy: { cost: 0 } } }, async () => ({}))
  })
  await statuses(app, 'globex', 3)
  const before = runs
  const refused = await get(app, 'globex')
  t.same([refused.status, await statuses(app, 'globex', 50)].flat(), Array(51).fill(429))
  t.ok(Number(refused.headers['retry-after']) >= 55)
  t.equal(runs, before)
  t.same(await statuses(app, 'globex', 1, '/free'), [200], 'a cheaper request is asked for')
  t.same(await statuses(app, 'acme', 2, '/', '192.0.2.1'), [200, 429])
  t.same(
    await statuses(app, 'acme', 1, '/', '192.0.2.2'),
    [200],
    'one client that is over its limit is not another'
  )
})

t.test('the outage is logged once, and its end', { skip: noRedis }, async t => {
  const service = await ownRedis(t)
  const lines: { msg: string }[] = []
  const app = await startApp(t, { limits, redis: service.url }, {
    tenants: { acme: toTenant({ id: 'a', slug: 'acme' }) },
    logger: {
      level: 'warn',
      stream: {
        write: (line: string) => {
          lines.push(JSON.parse(line) as { msg: string })
        }
      }
    }
  })
  await service.stop()
  await statuses(app, 'acme', 5)
  t.same(lines.map(({ msg }) => msg), ['rate limits cannot be counted in Redis'])
})
