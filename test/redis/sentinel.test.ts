import { Redis } from 'ioredis'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'

import { openRedis } from '@fastify-tenancy/redis'

import { noRedis } from '../support/fresh.ts'
import { freePort, startRedis, temporaryFolder } from '../support/services.ts'
import { until } from '../support/until.ts'

/** Starts a Sentinel that watches a master and promotes its replica. Resolves to its port. */
async function startSentinel (t: Test, master: number): Promise<number> {
  const [folder, port] = [temporaryFolder(), await freePort()]
  const config = join(folder, 'sentinel.conf')
  writeFileSync(
    config,
    `port ${port}
bind 127.0.0.1
dir ${folder}
sentinel monitor primary 127.0.0.1 ${master} 1
sentinel down-after-milliseconds primary 300
sentinel failover-timeout primary 2000
`
  )
  const child = spawn('redis-server', [config, '--sentinel'], { stdio: 'ignore' })
  t.teardown(async () => {
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
    rmSync(folder, { recursive: true, force: true })
  })
  const client = new Redis(port)
  client.on('error', () => {})
  t.teardown(() => {
    client.disconnect()
  })
  await until(
    async () =>
      (await client.call('SENTINEL', 'REPLICAS', 'primary').catch(() => []) as unknown[]).length === 1,
    20_000
  )
  return port
}

t.test(
  'behind Sentinel: after failover commands and messages reach the promoted replica',
  { skip: noRedis, timeout: 50_000 },
  async t => {
    const master = await startRedis()
    const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', `${master.port}`] })
    t.teardown(() => Promise.all([master.stop(), replica.stop()]))
    const sentinel = await startSentinel(t, master.port)
    const redis = openRedis({ sentinels: [{ host: '127.0.0.1', port: sentinel }], name: 'primary' })
    t.teardown(() => redis.close())
    await redis.ready()
    await redis.set('k', 'kept')
    const messages: string[] = []
    let gaps = 0
    await redis.subscribe('news', message => messages.push(message), () => gaps++)
    const copy = new Redis(replica.url)
    t.teardown(() => {
      copy.disconnect()
    })
    await until(async () => await copy.get('k') === 'kept')

    await master.stop()
    const start = performance.now()
    await t.rejects(
      redis.get('k'),
      { code: 'FST_TENANCY_REDIS_UNAVAILABLE' },
      'no command waits for the next master'
    )
    await until(() => redis.set('k', 'written').then(() => true, () => false), 20_000)
    t.comment(`writes again after ${(performance.now() - start).toFixed(0)} ms`)
    t.equal(await copy.get('k'), 'written')
    await until(() => gaps > 0, 10_000)
    await until(async () => {
      await redis.publish('news', 'after').catch(() => {})
      return messages.includes('after')
    }, 10_000)
    t.same(redis.health(), { status: 'ok', breaker: 'closed' })
  }
)
