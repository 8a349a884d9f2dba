// Redis servers of this file's own, which it kills, freezes and disconnects.
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'

import { defineScript, openRedis, type RedisSource, type TenancyRedis } from '@fastify-tenancy/redis'

import { noRedis } from '../support/fresh.ts'
import { freePort, startRedis, type RedisService } from '../support/services.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'

const increment = defineScript('return redis.call("INCR", KEYS[1])')
const unavailable = { code: 'FST_TENANCY_REDIS_UNAVAILABLE', statusCode: 503, retryAfter: 1 }

async function server (t: Test, options: { port?: number; args?: string[] } = {}): Promise<RedisService> {
  const redis = await startRedis(options)
  t.teardown(() => redis.stop())
  return redis
}

function opened (t: Test, source: RedisSource): TenancyRedis {
  const redis = openRedis(source)
  t.teardown(() => redis.close())
  return redis
}

function rawClient (t: Test, url: string): Redis {
  const raw = new Redis(url)
  raw.on('error', () => {})
  t.teardown(() => {
    raw.disconnect()
  })
  return raw
}

/** Sends a hundred sequential reads. Each must fail with the error for an unreachable Redis. */
async function allFail (t: Test, redis: TenancyRedis): Promise<void> {
  const answers = []
  for (let read = 0; read < 100; read++)
    answers.push(await redis.get('k').then(() => 'an answer', (error: { code?: string }) => error.code))
  t.same([...new Set(answers)], [unavailable.code])
}

/** Returns how many reads have reached this server since its statistics were reset. */
async function readsOf (raw: Redis): Promise<number> {
  return Number(/cmdstat_get:calls=(\d+)/.exec(await raw.info('commandstats'))?.[1] ?? 0)
}

/** The forms in which one Redis can be configured. The bounds hold for each. */
const sources: Record<string, (t: Test, url: string) => RedisSource> = {
  'an own client': (_t, url) => url,
  'a client that was passed in, with the settings of ioredis': rawClient
}

for (const [name, source] of Object.entries(sources)) {
  t.test(`RED-01 ${name}: a Redis that is down at boot is answered for at once, and used when it is there`, {
    skip: noRedis
  }, async t => {
    const port = await freePort()
    const redis = opened(t, source(t, `redis://127.0.0.1:${port}`))
    const gaps: string[] = []
    const messages: string[] = []
    await Promise.all([redis.ready(), redis.subscribe('news', message =>
      messages.push(message), () => gaps.push('gap'))])
    t.equal(
      await Promise.race([opened(t, 'redis://127.0.0.1:1').ready().then(() => 'one that is new'),
        redis.ready().then(() => 'it')]),
      'it',
      'who has waited once does not wait again'
    )
    t.same(redis.health(), { status: 'down', breaker: 'closed' })
    t.equal(redis.isAvailable, false)
    await allFail(t, redis)
    await t.rejects(redis.get('k'), unavailable)
    await t.rejects(redis.publish('news', 'x'), unavailable)

    await server(t, { port })
    await until(() => redis.isAvailable, 10_000)
    t.equal(await redis.get('k'), null)
    await until(() => gaps.length === 1)
    await redis.publish('news', 'one')
    await until(() => messages[0] === 'one')
  })

  t.test(
    `RED-02 ${name}: a frozen Redis costs one timeout a command until the breaker opens`,
    { skip: noRedis },
    async t => {
      const { process, url } = await server(t)
      const redis = opened(t, source(t, url))
      await redis.ready()
      await redis.set('k', 'value')
      const raw = rawClient(t, url)
      await raw.config('RESETSTAT')
      process.kill('SIGSTOP')
      t.teardown(() => {
        process.kill('SIGCONT')
      })
      await allFail(t, redis)
      t.not(redis.health().breaker, 'closed')
      process.kill('SIGCONT')
      const sent = await readsOf(raw)
      // Five commands opened the breaker, and one probe a second followed.
      t.ok(sent >= 5 && sent <= 15, `${sent} of a hundred were sent, the others not waited for`)
      await until(() => redis.get('k').then(value => value === 'value', () => false))
      t.same(redis.health(), { status: 'ok', breaker: 'closed' })
    }
  )

  t.test(
    `RED-04 ${name}: a late reply to an abandoned command is discarded`,
    { skip: noRedis },
    async t => {
      const { process, url } = await server(t)
      const redis = opened(t, source(t, url))
      await redis.ready()
      await redis.set('a', 'of a')
      await redis.set('b', 'of b')
      process.kill('SIGSTOP')
      await t.rejects(redis.get('a'), unavailable)
      process.kill('SIGCONT')
      t.same(await Promise.all([redis.get('b'), redis.mget(['b', 'a'])]), ['of b', ['of b', 'of a']])
    }
  )

  t.test(`${name}: a killed Redis is answered for at once, and used again after its restart`, {
    skip: noRedis
  }, async t => {
    const first = await server(t)
    const redis = opened(t, source(t, first.url))
    await redis.ready()
    let gaps = 0
    const messages: string[] = []
    await redis.subscribe('news', message => messages.push(message), () => gaps++)
    await first.stop()
    await until(() => !redis.isAvailable)
    await allFail(t, redis)
    await server(t, { port: first.port })
    await until(() => redis.get('k').then(() => true, () => false))
    await until(() => gaps === 1)
    t.equal(await redis.run(increment, ['n'], []), 1, 'the script is unknown to the new server')
    await redis.publish('news', 'after')
    await until(() => messages[0] === 'after')
  })
}

t.test(
  'RED-03 a connection lost between command and reply is one error and one effect',
  { skip: noRedis },
  async t => {
    const { url } = await server(t)
    const raw = rawClient(t, url)
    const broken = async (
      counter: string,
      send: (proxied: string) => Promise<unknown>
    ): Promise<{ outcome: PromiseSettledResult<unknown>; reconnected: () => Promise<unknown> }> => {
      const proxy = await tcpProxy(t, url)
      const sending = Promise.allSettled([send(proxy.url).finally(() => {
        proxy.delay(0)
      })])
      await until(() => proxy.connections > 0)
      proxy.delay(200)
      await until(async () => await raw.get(counter) === '1')
      proxy.cut()
      const [outcome] = await sending
      return {
        outcome: outcome as PromiseSettledResult<unknown>,
        reconnected: () => until(() => proxy.connections > 0)
      }
    }

    let own: TenancyRedis | undefined
    const ours = await broken('ours', async proxied => {
      // A long timeout, so that the broken connection causes the error and not the delay.
      own = opened(t, { host: '127.0.0.1', port: Number(new URL(proxied).port), commandTimeout: 5_000 })
      await until(() => own?.isAvailable)
      return own.run(increment, ['ours'], [])
    })
    t.match(ours.outcome, { status: 'rejected', reason: unavailable })
    await until(() => own?.get('ours').then(value => value === '1', () => false))
    t.equal(await raw.get('ours'), '1')

    // Control: by default ioredis sends the command again, and it takes effect twice.
    const naive = await broken('naive', async proxied => {
      const client = rawClient(t, proxied)
      await until(() => client.status === 'ready')
      return client.eval(increment.lua, 1, 'naive')
    })
    t.equal(naive.outcome.status, 'fulfilled')
    t.equal(await raw.get('naive'), '2')
  }
)

t.test(
  'a connection that died without a word is given up and replaced',
  { skip: noRedis, timeout: 30_000 },
  async t => {
    const { url } = await server(t)
    const proxy = await tcpProxy(t, url)
    const redis = opened(t, { host: '127.0.0.1', port: proxy.port, socketTimeout: 300 })
    await redis.ready()
    proxy.blackHole()
    await t.rejects(redis.get('k'), unavailable)
    await until(() => proxy.connections === 0)
    proxy.restore()
    await until(() => redis.get('k').then(() => true, () => false))
  }
)

t.test('a connection that dies before the client is ready is given up and replaced', {
  skip: noRedis,
  timeout: 30_000
}, async t => {
  const { url } = await server(t)
  const proxy = await tcpProxy(t, url)
  proxy.blackHole()
  const redis = opened(t, { host: '127.0.0.1', port: proxy.port, socketTimeout: 300 })
  await until(() => proxy.connections === 1)
  proxy.restore()
  await until(() => redis.get('k').then(() => true, () => false))
})

t.test('a patient client waits for the first answer of its connection too', {
  skip: noRedis,
  timeout: 30_000
}, async t => {
  const { url } = await server(t)
  const proxy = await tcpProxy(t, url)
  proxy.delay(20)
  const redis = opened(t, { host: '127.0.0.1', port: proxy.port, commandTimeout: 5_000 })
  await until(() => redis.isAvailable)
})

t.test(
  'a replica that takes no writes is an outage for them, not an error of the caller',
  { skip: noRedis },
  async t => {
    const master = await server(t)
    const replica = await server(t, { args: ['--replicaof', '127.0.0.1', `${master.port}`] })
    const redis = opened(t, replica.url)
    await redis.ready()
    await t.rejects(redis.set('k', 'v'), unavailable)
  }
)

t.test('an error shows no key, value or host to a client', { skip: noRedis }, async t => {
  const redis = opened(t, `redis://:hunter2@127.0.0.1:${await freePort()}`)
  const error = await redis.set('secret key', 'secret value').then(() => t.fail(), (e: Error) => e)
  t.notMatch(JSON.stringify(error), /secret|hunter2|127/)
  t.notMatch(String(error), /secret|hunter2|127/)
})
