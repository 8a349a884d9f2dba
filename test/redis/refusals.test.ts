// A login with too few privileges, and servers that refuse for ever: one log line, and no storm of
// connections.
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'

import { defineScript, openRedis, type TenancyRedis } from '@fastify-tenancy/redis'

import { noRedis } from '../support/fresh.ts'
import { refusals } from '../support/refusing-redis.ts'
import { startRedis, type RedisService } from '../support/services.ts'
import { tcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'

t.jobs = 3 // the tests wait for heartbeats

interface World {
  readonly service: RedisService
  readonly admin: Redis
  readonly proxy: TcpProxy
  readonly redis: TenancyRedis
  readonly lines: string[]
}

/** Returns the port of a new login, through a proxy that counts connections. */
async function world (t: Test, ...rights: string[]): Promise<World> {
  const service = await startRedis()
  t.teardown(() => service.stop())
  const admin = new Redis(service.url)
  admin.on('error', () => {})
  t.teardown(() => {
    admin.disconnect()
  })
  await admin.call('ACL', 'SETUSER', 'app', 'on', '>right', '~*', '+@all', ...rights)
  const proxy = await tcpProxy(t, service.url)
  const lines: string[] = []
  const write = (details: object, line: string): void => {
    lines.push(`${line} ${JSON.stringify(details)}`)
  }
  const redis = openRedis(
    { host: '127.0.0.1', port: proxy.port, username: 'app', password: 'right', commandTimeout: 5_000 },
    { log: { info: write, warn: write, error: write } }
  )
  t.teardown(() => redis.close())
  await redis.ready()
  return { service, admin, proxy, redis, lines }
}

t.test(
  'EDG-03 a login without channels: boot does not wait, and one warning names the channel',
  { skip: noRedis, buffered: true },
  async t => {
    const { admin, proxy, redis, lines } = await world(t, 'resetchannels')
    const began = admin.call('TIME')
    let gaps = 0
    const heard: string[] = []
    await redis.subscribe('news', message => heard.push(message), () => gaps++)
    await began
    await until(() => lines.length === 1) // a busy machine may connect after the boot has stopped waiting
    t.match(redis.state(), { status: 'degraded', reason: 'NOPERM', messages: 'missed' })
    t.match(redis.health(), { status: 'degraded', breaker: 'closed' })
    t.equal(lines.filter(line => line.includes('NOPERM')).length, 1)
    t.match(lines[0], /refuses this login the channel.*news/)
    await t.rejects(redis.publish('news', 'x'), { code: 'FST_TENANCY_REDIS_UNAVAILABLE', statusCode: 503 })
    await redis.set('k', 'v')
    t.equal(await redis.get('k'), 'v', 'what the login may do goes on')
    const { opened } = proxy
    // By then two heartbeats have tried again on the same connection.
    await until(async () =>
      Number(
        /cmdstat_subscribe:calls=\d+,.*?rejected_calls=(\d+)/.exec(await admin.info('commandstats'))?.[1]
      ) >= 2
    )
    t.equal(proxy.opened, opened, 'no connection since')
    t.equal(lines.length, 1)

    await admin.call('ACL', 'SETUSER', 'app', 'allchannels')
    await until(() => gaps === 1)
    await redis.publish('news', 'now')
    await until(() => heard[0] === 'now')
    t.match(redis.state(), { messages: 'ok' })
  }
)

t.test('EDG-03 a forbidden channel does not affect the others, and lost rights are noticed', {
  skip: noRedis,
  buffered: true
}, async t => {
  const { admin, redis, lines } = await world(t, 'resetchannels', '&good')
  const heard: string[] = []
  await redis.subscribe('good', message => heard.push(message), () => heard.push('gap'))
  await until(() => heard.length > 0 || redis.state().messages === 'ok')
  await redis.subscribe('bad', () => {}, () => {})
  await until(() => redis.state().messages === 'missed')
  t.match(redis.state(), { status: 'degraded', reason: 'NOPERM', messages: 'missed' })
  await redis.publish('good', 'one')
  await until(() => heard.includes('one'))

  await admin.call('ACL', 'SETUSER', 'app', 'resetchannels')
  await until(() => lines.some(line => /channel.*"good"/.test(line)))
  t.equal(lines.filter(line => line.includes('"good"')).length, 1)
})

for (const { reason, start } of refusals) {
  t.test(`EDG-06 ${reason}: commands reject as unavailable, and stay on their connection`, {
    skip: noRedis,
    buffered: true
  }, async t => {
    const lines: string[] = []
    const write = (_: object, line: string): void => {
      lines.push(line)
    }
    const { source, refuse } = await start(t)
    const redis = openRedis(source, { log: { info: write, warn: write, error: write } })
    t.teardown(() => redis.close())
    await redis.ready()
    await refuse()
    if (reason === 'READONLY') {
      // The first refusal replaces the connection, and later ones do not for a while.
      await redis.set('k', 'v').catch(() => {})
      await until(() => redis.get('k').then(() => true, () => false))
    }
    const incr = defineScript('return redis.call("INCR", KEYS[1])')
    for (let round = 0; round < 20; round++) {
      await t.rejects(redis.set('{acme}:k', 'v'), {
        code: 'FST_TENANCY_REDIS_UNAVAILABLE',
        statusCode: 503,
        retryAfter: 1
      })
      await t.rejects(redis.run(incr, ['{acme}:n'], []), { code: 'FST_TENANCY_REDIS_UNAVAILABLE' })
    }
    t.match(redis.state(), { reason })
    t.ok(lines.length <= 1, lines.join('\n'))
  })
}
