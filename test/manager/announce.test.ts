// The manager announces every change through Redis, also after a short outage of Redis.
import { postgresRegistry } from '@fastify-tenancy/database'
import { createManager, type Progress } from '@fastify-tenancy/manager'
import { openRedis } from '@fastify-tenancy/redis'
import pg from 'pg'
import t from 'tap'

import { resolveResolverOptions } from '../../packages/resolver/src/options.ts'
import { TenantResolver } from '../../packages/resolver/src/resolver.ts'
import { freshDatabase, noRedis } from '../support/fresh.ts'
import { startRedis } from '../support/services.ts'
import { until } from '../support/until.ts'

t.test('CHG-01 CHG-02 a process without change events of the database', { skip: noRedis }, async t => {
  const service = await startRedis()
  t.teardown(() => service.stop())
  const url = await freshDatabase(t)
  const told: Progress[] = []
  const manager = createManager({
    database: url,
    redis: service.url,
    progress: event => {
      if (event.operation === 'tell') told.push(event)
    }
  })
  await manager.init()
  const { id } = await manager.create({ slug: 'acme', domains: ['acme.shop'] })
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  const { rows: [row] } = await pool.query<{ id: string }>('select id from tenancy.installation()')
  const redis = openRedis(service.url, { namespace: row?.id })
  const registry = postgresRegistry(pool)
  const { cache } = resolveResolverOptions({
    registry,
    baseDomain: 'example.com',
    cache: { ttl: '1h', localTtl: '1h', negativeTtl: '1h' }
  })
  const resolver = new TenantResolver(registry, redis, cache, host => ({ kind: 'domain', value: host }))
  await resolver.start()
  t.teardown(async () => {
    await manager.close()
    await resolver.stop()
    await redis.close()
    await pool.end()
  })
  const status = async (): Promise<string | undefined> => (await resolver.find({ slug: 'acme' }))?.status
  t.equal(await status(), 'active')

  await t.test('a suspension during a Redis stall reaches the process when Redis resumes', async () => {
    service.process.kill('SIGSTOP')
    const suspending = manager.suspend({ id })
    await until(async () => (await registry.findById(id))?.status === 'suspended')
    service.process.kill('SIGCONT')
    await suspending
    await until(async () => await status() === 'suspended')
    t.same(told, [])
  })

  await t.test('a claim, its loss and a domain given at creation', async () => {
    t.equal((await resolver.findHost('acme.shop'))?.id, id)
    await manager.domains.remove({ id }, 'acme.shop')
    await until(async () => await resolver.findHost('acme.shop') === undefined)
    t.equal(await resolver.findHost('new.shop'), undefined)
    const other = await manager.create({ slug: 'other', domains: ['new.shop'] })
    await until(async () => (await resolver.findHost('new.shop'))?.id === other.id)
  })

  await t.test('without Redis the change is made, and progress names what failed', async () => {
    await service.stop()
    const resumed = await manager.resume({ id })
    t.equal(resumed.status, 'active')
    t.match(told, [{ operation: 'tell', tenant: id, step: /cannot publish the change to Redis/ }])
    await manager.update({ id }, { plan: 'pro' })
    t.equal(told.length, 2)
    await t.rejects(manager.delete({ id }, { grace: '1ms' }).then(() => manager.purge({ id })), {
      code: 'FST_TENANCY_REDIS_UNAVAILABLE'
    }, 'a purge that leaves keys is not done')
  })
})
