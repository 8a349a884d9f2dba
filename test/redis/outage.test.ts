// Servers of our own, killed, frozen and cut off.
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'

import { defineScript, openRedis, type RedisSource, type TenancyRedis } from '@fastify-tenancy/redis'

import { noRedis } from '../support/fresh.ts'
import { freePort, startRedis, type RedisService } from '../support/services.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'

const increment = defineScript('return redis.call("INCR", KEYS[1])')
const unavailable = { code: 'FST_TENANCY_REDIS_UNAVAILABLE', statusCode: 503, retryAfter: 1 }

async function server (t: Test, options: { port?: number, args?: string[] } = {}): Promise<RedisService> {
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
  t.teardown(() => { raw.disconnect() })
  return raw
}

/** Milliseconds that each call took, slowest last. */
async function timed (calls: number, call: () => Promise<unknown>): Promise<number[]> {
  const times = []
  for (let i = 0; i < calls; i++) {
    const start = performance.now()
    await call().catch(() => {})
    times.push(performance.now() - start)
  }
  return times.toSorted((a, b) => a - b)
}

/** How the same Redis may be given. The bounds hold for each. */
const sources: Record<string, (t: Test, url: string) => RedisSource> = {
  'an own client': (_t, url) => url,
  'a client that was passed in, with the settings of ioredis': rawClient
}

for (const [name, source] of Object.entries(sources)) {
  t.test(`RED-01 ${name}: a Redis that is down at boot is answered for at once, and used when it is there`, { skip: noRedis }, async t => {
    const port = await freePort()
    const redis = opened(t, source(t, `redis://127.0.0.1:${port}`))
    const start = performance.now()
    const gaps: string[] = []
    const messages: string[] = []
    await Promise.all([redis.ready(), redis.subscribe('news', message => messages.push(message), () => gaps.push('gap'))])
    t.ok(performance.now() - start < 2_500, 'boot waits two seconds')
    t.same(redis.health(), { status: 'down', breaker: 'closed' })
    t.equal(redis.isAvailable, false)
    t.ok((await timed(100, () => redis.get('k'))).at(-1) as number < 50)
    await t.rejects(redis.get('k'), unavailable)
    await t.rejects(redis.publish('news', 'x'), unavailable)

    await server(t, { port })
    await until(() => redis.isAvailable, 10_000)
    t.equal(await redis.get('k'), null)
    await until(() => gaps.length === 1)
    await redis.publish('news', 'one')
    await until(() => messages[0] === 'one')
  })

  t.test(`RED-02 ${name}: a frozen Redis costs a command its timeout, then the breaker opens, and closes when it thaws`, { skip: noRedis }, async t => {
    const { process, url } = await server(t)
    const redis = opened(t, source(t, url))
    await redis.ready()
    await redis.set('k', 'value')
    process.kill('SIGSTOP')
    t.teardown(() => { process.kill('SIGCONT') })
    const times = await timed(100, () => redis.get('k'))
    t.comment(`p50 ${times[50]?.toFixed(2)} ms, p99 ${times[99]?.toFixed(0)} ms`)
    t.ok(times[99] as number < 200, 'none waits longer than the timeout')
    t.ok(times[50] as number < 1, 'most do not wait')
    t.equal(redis.health().status, 'down')
    await t.rejects(redis.get('k'), unavailable)
    process.kill('SIGCONT')
    await until(() => redis.get('k').then(value => value === 'value', () => false))
    t.same(redis.health(), { status: 'ok', breaker: 'closed' })
  })

  t.test(`RED-04 ${name}: a late answer to a command that was given up is nobody's answer`, { skip: noRedis }, async t => {
    const { process, url } = await server(t)
    const redis = opened(t, source(t, url))
    await redis.ready()
    await redis.set('a', 'of a')
    await redis.set('b', 'of b')
    process.kill('SIGSTOP')
    await t.rejects(redis.get('a'), unavailable)
    process.kill('SIGCONT')
    t.same(await Promise.all([redis.get('b'), redis.mget(['b', 'a'])]), ['of b', ['of b', 'of a']])
  })

  t.test(`${name}: a killed Redis is answered for at once, and used again after its restart`, { skip: noRedis }, async t => {
    const first = await server(t)
    const redis = opened(t, source(t, first.url))
    await redis.ready()
    let gaps = 0
    const messages: string[] = []
    await redis.subscribe('news', message => messages.push(message), () => gaps++)
    await first.stop()
    await until(() => !redis.isAvailable)
    t.ok((await timed(100, () => redis.get('k'))).at(-1) as number < 150)
    await server(t, { port: first.port })
    await until(() => redis.get('k').then(() => true, () => false))
    await until(() => gaps === 1)
    t.equal(await redis.run(increment, ['n'], []), 1, 'the script is unknown to the new server')
    await redis.publish('news', 'after')
    await until(() => messages[0] === 'after')
  })
}

t.test('RED-03 a connection that breaks between command and answer: one error, and the command took effect once', { skip: noRedis }, async t => {
  const { url } = await server(t)
  const raw = rawClient(t, url)
  const broken = async (counter: string, send: (proxied: string) => Promise<unknown>): Promise<{ outcome: PromiseSettledResult<unknown>, reconnected: () => Promise<unknown> }> => {
    const proxy = await tcpProxy(t, url)
    const sending = Promise.allSettled([send(proxy.url).finally(() => { proxy.delay(0) })])
    await until(() => proxy.connections > 0)
    proxy.delay(40)
    await until(async () => await raw.get(counter) === '1')
    proxy.cut()
    const [outcome] = await sending
    return { outcome: outcome as PromiseSettledResult<unknown>, reconnected: () => until(() => proxy.connections > 0) }
  }

  let own: TenancyRedis | undefined
  const ours = await broken('ours', async proxied => {
    own = opened(t, proxied)
    await until(() => own?.isAvailable)
    return own.run(increment, ['ours'], [])
  })
  t.match(ours.outcome, { status: 'rejected', reason: unavailable })
  await until(() => own?.get('ours').then(value => value === '1', () => false))
  t.equal(await raw.get('ours'), '1')

  // The control: ioredis as it comes sends the command again, and it takes effect twice.
  const naive = await broken('naive', async proxied => {
    const client = rawClient(t, proxied)
    await until(() => client.status === 'ready')
    return client.eval(increment.lua, 1, 'naive')
  })
  t.equal(naive.outcome.status, 'fulfilled')
  t.equal(await raw.get('naive'), '2')
})

t.test('a connection that died without a word is given up and replaced', { skip: noRedis, timeout: 30_000 }, async t => {
  const { url } = await server(t)
  const proxy = await tcpProxy(t, url)
  const redis = opened(t, { host: '127.0.0.1', port: proxy.port, socketTimeout: 300 })
  await redis.ready()
  proxy.blackHole()
  await t.rejects(redis.get('k'), unavailable)
  await until(() => proxy.connections === 0)
  proxy.restore()
  await until(() => redis.get('k').then(() => true, () => false))
})

t.test('a connection that dies before the client is ready is given up and replaced', { skip: noRedis, timeout: 30_000 }, async t => {
  const { url } = await server(t)
  const proxy = await tcpProxy(t, url)
  proxy.blackHole()
  const redis = opened(t, { host: '127.0.0.1', port: proxy.port, socketTimeout: 300 })
  await until(() => proxy.connections === 1)
  proxy.restore()
  await until(() => redis.get('k').then(() => true, () => false))
})

t.test('a patient client waits for the first answer of its connection too', { skip: noRedis, timeout: 30_000 }, async t => {
  const { url } = await server(t)
  const proxy = await tcpProxy(t, url)
  proxy.delay(20)
  const redis = opened(t, { host: '127.0.0.1', port: proxy.port, commandTimeout: 5_000 })
  await until(() => redis.isAvailable)
})

t.test('a replica that takes no writes is an outage for them, not an error of the caller', { skip: noRedis }, async t => {
  const master = await server(t)
  const replica = await server(t, { args: ['--replicaof', '127.0.0.1', `${master.port}`] })
  const redis = opened(t, replica.url)
  await redis.ready()
  await t.rejects(redis.set('k', 'v'), unavailable)
})

t.test('an error shows no key, value or host to a client', { skip: noRedis }, async t => {
  const redis = opened(t, `redis://:hunter2@127.0.0.1:${await freePort()}`)
  const error = await redis.set('secret key', 'secret value').then(() => t.fail(), (e: Error) => e)
  t.notMatch(JSON.stringify(error), /secret|hunter2|127/)
  t.notMatch(String(error), /secret|hunter2|127/)
})
