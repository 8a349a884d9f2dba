// EDG-04: Redis stops replying on an open connection, in each way that a network or a server can.
// Redis itself loses nothing.
import t, { type Test } from 'tap'

import { openRedis } from '@fastify-tenancy/redis'

import { SharedLimiter } from '../../packages/rate-limit/src/limiter.ts'
import type { Quota } from '../../packages/rate-limit/src/quota.ts'
import { RedisLimiter } from '../../packages/rate-limit/src/redis-limiter.ts'
import { minute, second } from '../../packages/rate-limit/src/window.ts'
import { noRedis } from '../support/fresh.ts'
import { isLong } from '../support/long.ts'
import { startRedis, type RedisService } from '../support/services.ts'
import { tcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'

type Silence = (service: RedisService, proxy: TcpProxy) => { begin(): void; end(): void }

const silences: Record<string, Silence> = {
  'bytes vanish in both directions, then the connection is cut': (_, proxy) => ({
    begin: () => {
      proxy.blackHole()
    },
    end () {
      proxy.restore()
      proxy.cut()
    }
  }),
  'commands are executed and their answers vanish, then the connection is cut': (_, proxy) => ({
    begin: () => {
      proxy.loseAnswers()
    },
    end () {
      proxy.restore()
      proxy.cut()
    }
  }),
  'commands arrive, and are answered, too late': (_, proxy) => ({
    begin: () => {
      proxy.delay(150)
    },
    end: () => {
      proxy.delay(0)
    }
  }),
  'the server stands still and executes later what it was sent': ({ process }) => ({
    begin: () => {
      process.kill('SIGSTOP')
    },
    end: () => {
      process.kill('SIGCONT')
    }
  }),
  'the server stands still, the connection is cut, and the server executes what it was sent': (
    { process },
    proxy
  ) => ({
    begin: () => {
      process.kill('SIGSTOP')
    },
    end () {
      proxy.cut()
      process.kill('SIGCONT')
    }
  })
}

interface World {
  readonly service: RedisService
  readonly proxies: readonly TcpProxy[]
  readonly limiters: readonly SharedLimiter[]
  /** Returns the count of a quota in Redis, read over a connection of its own. */
  readonly counted: (quota: Quota) => Promise<number>
}

async function world (t: Test, processes: number, precision: 'exact' | 'leased'): Promise<World> {
  const service = await startRedis()
  const proxies: TcpProxy[] = []
  const limiters: SharedLimiter[] = []
  for (let at = 0; at < processes; at++) {
    const proxy = await tcpProxy(t, service.url)
    const redis = openRedis(proxy.url)
    await redis.ready()
    const log = { info () {}, warn () {}, error () {} }
    const limiter = new SharedLimiter(redis, {
      onStoreError: 'local',
      precision,
      processes: () => processes,
      log
    })
    t.teardown(async () => {
      await limiter.close()
      await redis.close()
    })
    proxies.push(proxy)
    limiters.push(limiter)
  }
  const reader = openRedis({ host: '127.0.0.1', port: service.port, commandTimeout: 5_000 })
  await reader.ready()
  const limiter = new RedisLimiter(reader, () => performance.now())
  t.teardown(async () => {
    service.process.kill('SIGCONT')
    await reader.close()
    await service.stop()
  })
  return { service, proxies, limiters, counted: async quota => (await limiter.consumePlain([quota], 0)).used }
}

/** Sends this many requests, some concurrently, and returns how many were admitted. */
async function send (limiter: SharedLimiter, quotas: readonly Quota[], count: number): Promise<number> {
  let admitted = 0
  for (let sent = 0; sent < count; sent += 4) {
    const verdicts = await Promise.all(Array.from({ length: 4 }, () => limiter.take(quotas, 1)))
    admitted += verdicts.filter(verdict => verdict?.wait === 0).length
  }
  return admitted
}

t.jobs = 8 // the tests mostly wait for timeouts

/** The cases of the daily run. `npm run test:long` runs all of them, leased ones too. */
const daily = ['commands are executed and their answers vanish, then the connection is cut',
  'the server stands still, the connection is cut, and the server executes what it was sent']

for (const precision of isLong ? ['exact', 'leased'] as const : ['exact'] as const) {
  for (const [name, silence] of Object.entries(silences)) {
    if (!isLong && !daily.includes(name)) continue

    t.test(`EDG-04 ${precision}: ${name}: each admitted request is counted once`, {
      skip: noRedis,
      buffered: true
    }, async t => {
      const { service, proxies, limiters, counted } = await world(t, 1, precision)
      const [limiter] = limiters as [SharedLimiter]
      const rpm: Quota = { key: '{a}:rpm', name: 'rpm', limit: 10_000, shape: minute, smoothing: false }
      const own: Quota = { key: '{a}:own', name: 'perClient', limit: 9_000, shape: minute, smoothing: false }
      const quotas = [rpm, own]
      const { begin, end } = silence(service, proxies[0]!)
      let admitted = await send(limiter, quotas, 12)
      for (let round = 0; round < 2; round++) {
        begin()
        admitted += await send(limiter, quotas, 40)
        end()
        await until(async () => {
          admitted += await send(limiter, quotas, 4)
          return !limiter.isAway
        })
      }
      await until(async () => await counted(rpm) === admitted && await counted(own) === admitted).catch(
        () => {}
      )
      t.same([await counted(rpm), await counted(own)], [admitted, admitted])
    })

    t.test(`EDG-04 ${precision}: ${name}: one process never admits more than the limit`, {
      skip: noRedis,
      buffered: true
    }, async t => {
      const { service, proxies, limiters, counted } = await world(t, 1, precision)
      const [limiter] = limiters as [SharedLimiter]
      const quotas: Quota[] = [{ key: '{a}:rpm', name: 'rpm', limit: 60, shape: minute, smoothing: false }]
      const { begin, end } = silence(service, proxies[0]!)
      let admitted = await send(limiter, quotas, 12)
      begin()
      admitted += await send(limiter, quotas, 40)
      end()
      await until(async () => {
        admitted += await send(limiter, quotas, 4)
        return !limiter.isAway || admitted >= 60
      })
      admitted += await send(limiter, quotas, 100)
      t.equal(admitted, 60)
      await until(async () => await counted(quotas[0]!) === admitted).catch(() => {})
      t.equal(await counted(quotas[0]!), admitted)
    })
  }
}

t.test(
  'EDG-04 three processes, one losing replies, together stay within Redis and the shares',
  { skip: noRedis, buffered: true },
  async t => {
    const { proxies, limiters, counted } = await world(t, 3, 'exact')
    const quotas: Quota[] = [{ key: '{a}:rpm', name: 'rpm', limit: 90, shape: minute, smoothing: false }]
    let admitted = 0
    for (const limiter of limiters) admitted += await send(limiter, quotas, 8)
    proxies[0]!.loseAnswers()
    for (let round = 0; round < 20; round++)
      for (const limiter of limiters)
        admitted += await send(
          limiter,
          quotas,
          4
        )
    proxies[0]!.restore()
    proxies[0]!.cut()
    await until(async () => {
      admitted += await send(limiters[0]!, quotas, 4)
      return !limiters[0]!.isAway
    })
    await until(async () => await counted(quotas[0]!) === admitted).catch(() => {})
    t.equal(await counted(quotas[0]!), admitted, 'each admitted request is counted once')
    t.ok(
      admitted >= 90 && admitted <= 120,
      `${admitted} admitted: the limit and the share of the process that was alone`
    )
  }
)

t.test('EDG-04 a debt whose own send is lost is sent again, and counted once', {
  skip: noRedis,
  buffered: true
}, async t => {
  const { proxies, limiters, counted } = await world(t, 1, 'exact')
  const [limiter] = limiters as [SharedLimiter]
  const [proxy] = proxies as [TcpProxy]
  const burst: Quota = {
    key: '{a}:route',
    name: 'route',
    limit: 1_000,
    shape: { width: second.width * 100, slots: 60 },
    smoothing: false
  }
  let admitted = await send(limiter, [burst], 4)
  proxy.loseAnswers()
  admitted += await send(limiter, [burst], 20)
  // The sweeps send the pending writes. Redis executes them without a confirmation, so they are
  // sent several times.
  for (let more = 0; more < 3; more++) {
    const before = await counted(burst)
    await limiter.sweep()
    admitted += await send(limiter, [burst], 4)
    t.ok(await counted(burst) >= before)
    proxy.cut()
  }
  proxy.restore()
  proxy.cut()
  await until(async () => {
    admitted += await send(limiter, [burst], 4)
    return !limiter.isAway
  })
  await until(async () => await counted(burst) === admitted).catch(() => {})
  t.equal(await counted(burst), admitted)
})
