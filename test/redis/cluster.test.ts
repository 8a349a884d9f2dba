import { Redis } from 'ioredis'
import t from 'tap'

import { defineScript, openRedis } from '@fastify-tenancy/redis'

import { startCluster } from '../support/cluster.ts'
import { noRedis } from '../support/fresh.ts'
import { until } from '../support/until.ts'

const sum = defineScript('return redis.call("GET", KEYS[1]) + redis.call("GET", KEYS[2])')

t.test(
  'a Cluster of three: keys of any slot, scripts, messages, and a node that dies',
  { skip: noRedis },
  async t => {
    const cluster = await startCluster(t)
    const redis = openRedis(cluster.client({ keyPrefix: 'app:' }))
    t.teardown(() => redis.close())
    await redis.ready()
    t.same(redis.health(), { status: 'ok', breaker: 'closed' })

    const keys = Array.from({ length: 30 }, (_, at) => `x:{t${at % 10}}:${at}`)
    await Promise.all(keys.map((key, at) => redis.set(key, String(at))))
    t.same(await redis.mget(['x:{none}', ...keys]), [null, ...keys.map((_, at) => String(at))])
    t.same(await redis.mget([keys[0] ?? '', keys[10] ?? '']), ['0', '10'], 'one tag is one command')
    t.equal(await redis.run(sum, [keys[0] ?? '', keys[10] ?? ''], []), 10)
    t.equal(await redis.del(...keys), 30)
    const slots = await Promise.all(keys.map(key => redis.get(key)))
    t.ok(slots.every(value => value === null))

    const messages: string[] = []
    let gaps = 0
    await redis.subscribe('news', message => messages.push(message), () => gaps++)
    await redis.publish('news', 'one')
    await until(() => messages.length === 1)

    const lists = await Promise.all(cluster.nodes.map(async node => {
      const admin = new Redis(node.url)
      const list = await admin.call('CLIENT', 'LIST', 'TYPE', 'pubsub') as string
      admin.disconnect()
      return list.includes('fastify-tenancy:subscriber')
    }))
    t.same(lists.toSorted(), [false, false, true], 'one connection for all subscriptions')
    await cluster.nodes[lists.indexOf(true)]?.stop()
    await until(() => gaps > 0, 10_000)
    await until(async () => {
      await redis.publish('news', 'two').catch(() => {})
      return messages.includes('two')
    }, 10_000)
  }
)
