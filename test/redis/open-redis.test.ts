import { Redis } from 'ioredis'
import { randomBytes } from 'node:crypto'
import t from 'tap'

import { defineScript, openRedis } from '@fastify-tenancy/redis'

import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { until } from '../support/until.ts'

const increment = defineScript('return redis.call("INCRBY", KEYS[1], ARGV[1])')

t.test(
  'reads, writes, deletes, runs scripts and publishes under the prefix of the client',
  { skip: noRedis },
  async t => {
    const options = freshRedisOptions()
    const redis = openRedis(options)
    const raw = new Redis({ ...options, keyPrefix: '' })
    t.teardown(async () => {
      raw.disconnect()
      await redis.close()
    })
    await redis.ready()
    t.equal(redis.isAvailable, true)
    t.same(redis.health(), { status: 'ok', breaker: 'closed' })

    await redis.set('a', '1')
    await redis.set('b', '2', 60_000)
    t.equal(await redis.get('a'), '1')
    t.same(await redis.mget(['a', 'missing', 'b']), ['1', null, '2'])
    t.same(await redis.mget([]), [])
    t.equal(await raw.get(`${options.keyPrefix}a`), '1')
    t.ok(await raw.pttl(`${options.keyPrefix}b`) > 50_000)
    t.equal(await redis.del('a', 'b', 'missing'), 2)
    t.equal(await redis.del(), 0)

    const messages: string[] = []
    const end = await redis.subscribe('news', message => messages.push(message), () => t.fail('no gap'))
    await redis.publish('news', 'one')
    await until(() => messages.length === 1)
    await raw.publish('news', 'of another prefix')
    await raw.publish(`${options.keyPrefix}news`, 'two')
    await until(() => messages.length === 2)
    t.same(messages, ['one', 'two'])
    await end()
    await end()
    await raw.publish(`${options.keyPrefix}news`, 'three')
    t.same(await redis.get('x'), null)
    t.equal(messages.length, 2)
  }
)

t.test('a script is run again whole after SCRIPT FLUSH, once', { skip: noRedis }, async t => {
  const redis = openRedis(freshRedisOptions())
  t.teardown(() => redis.close())
  await redis.ready()
  const script = defineScript(
    `return redis.call('INCRBY', KEYS[1], ARGV[1]) -- ${randomBytes(8).toString('hex')}`
  ) // a script that no server has loaded
  t.equal(await redis.run(script, ['n'], [2]), 2)
  t.equal(await redis.run(script, ['n'], [3]), 5)
  t.equal(await redis.run(increment, ['n'], [1]), 6)
})

t.test('a command that Redis refuses is the caller’s own error and does not count as an outage', {
  skip: noRedis
}, async t => {
  const redis = openRedis(freshRedisOptions())
  t.teardown(() => redis.close())
  await redis.ready()
  await redis.set('n', 'text')
  for (let i = 0; i < 10; i++) await t.rejects(redis.run(increment, ['n'], [1]), { name: 'ReplyError' })
  t.same(redis.health(), { status: 'ok', breaker: 'closed' })
})

t.test(
  'a client that was passed in, and a port that was passed in, are never closed',
  { skip: noRedis },
  async t => {
    const client = new Redis(freshRedisOptions())
    t.teardown(() => {
      client.disconnect()
    })
    const redis = openRedis(client)
    await redis.ready()
    t.equal(openRedis(redis), redis)
    await redis.subscribe('news', () => {}, () => {})
    await redis.close()
    t.equal(await client.ping(), 'PONG')
  }
)

t.test('a lazily connecting client is connected', { skip: noRedis }, async t => {
  const client = new Redis({ ...freshRedisOptions(), lazyConnect: true })
  t.teardown(() => {
    client.disconnect()
  })
  const redis = openRedis(client)
  await redis.ready()
  t.equal(await redis.get('x'), null)
})

t.test('a source that names no Redis is refused with one sentence', async t => {
  for (const bad of ['', 'http://x', 'localhost:6379', 'redis://', 6379, null, undefined, new Map()]) {
    t.throws(() => openRedis(bad as never), {
      code: 'FST_TENANCY_OPTION_INVALID',
      message: new RegExp(
        String.raw`^redis must be a redis:\/\/ or rediss:\/\/ URL, an ioredis client or Cluster, or ` +
          'ioredis options, got '
      )
    }, String(bad))
  }
  t.throws(() => openRedis([] as never), { code: 'FST_TENANCY_OPTION_INVALID' })
  for (
    const bad of [{ port: Number.NaN }, { port: 0 }, { port: 65_536 }, { port: '6379x' }, { port: null }, {
      host: ''
    }, { host: 5 }, { db: -1 }, { db: 1.5 }]
  ) {
    t.throws(() => openRedis(bad as never), {
      code: 'FST_TENANCY_OPTION_INVALID',
      message: /^redis must have a host/
    }, JSON.stringify(bad))
  }
})

t.test('options of the caller are neither changed nor frozen', { skip: noRedis }, async t => {
  const options = {
    ...freshRedisOptions(),
    sentinelCommandTimeout: 5,
    tls: undefined,
    nested: { list: [{ a: 1 }] }
  }
  const before = structuredClone(options)
  const redis = openRedis(options)
  t.teardown(() => redis.close())
  t.same(options, before)
  t.notOk(Object.isFrozen(options))
  t.notOk(Object.isFrozen(options.nested.list[0]))
})
