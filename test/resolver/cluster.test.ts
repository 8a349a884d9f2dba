// The resolver on a Redis Cluster of three.
import { lookupKey } from '@fastify-tenancy/core/keys'
import { openRedis } from '@fastify-tenancy/redis'
import { Redis } from 'ioredis'
import t from 'tap'

import { resolveResolverOptions } from '../../packages/resolver/src/options.ts'
import { TenantResolver } from '../../packages/resolver/src/resolver.ts'
import { startCluster } from '../support/cluster.ts'
import { noRedis } from '../support/fresh.ts'
import { until } from '../support/until.ts'
import { CountingRegistry } from './app.ts'

t.test(
  'on a Cluster of three, records, changes and locks are shared across slots',
  { skip: noRedis },
  async t => {
    const cluster = await startCluster(t)
    const inputs = Array.from(
      { length: 20 },
      (_, at) => ({ id: `t-${at}`, slug: `s${at}`, domains: [`s${at}.shop`] })
    )
    const registry = new CountingRegistry(inputs)
    const node = async (): Promise<TenantResolver> => {
      const redis = openRedis(cluster.client({ keyPrefix: 'app:' }))
      const { cache } = resolveResolverOptions({
        registry,
        baseDomain: 'example.com',
        cache: { lock: true, ttl: '1h', localTtl: '1h' }
      })
      const resolver = new TenantResolver(registry, redis, cache, host => ({ kind: 'domain', value: host }))
      await redis.ready()
      await resolver.start()
      t.teardown(async () => {
        await resolver.stop()
        await redis.close()
      })
      return resolver
    }
    const [one, two] = [await node(), await node()]

    const admins = cluster.nodes.map(({ url }) => new Redis(url))
    t.teardown(() => {
      for (const admin of admins) admin.disconnect()
    })
    // On a busy machine a reply may take longer than its 100 ms timeout. Then the registry is read
    // again and the record is not written.
    const sizes = await until(async () => {
      for (const { lookup } of [one, two]) lookup.invalidateAll()
      const found = await Promise.all(
        inputs.flatMap(({ slug }) =>
          Array.from({ length: 20 }, (_, at) => (at % 2 ? one : two).find({ slug }))
        )
      )
      t.same(
        found.map(tenant => tenant?.id),
        inputs.flatMap(({ id }) => Array.from({ length: 20 }, () => id))
      )
      const keys = await Promise.all(admins.map(admin => admin.keys('app:tenancy:slug:*')))
      return keys.flat().length === inputs.length ? keys.map(({ length }) => length) : undefined
    }, 20_000)
    const { reads } = registry
    await until(async () => {
      const before = registry.reads
      const three = await node()
      for (const { slug } of inputs) await three.find({ slug })
      return registry.reads - before < inputs.length
    })
    t.ok(reads >= inputs.length, 'what one has found, another takes from Redis')
    t.ok(sizes.every(size => size > 0), `the control: every node holds some (${sizes.join(', ')})`)
    t.ok(
      (await Promise.all(admins.map(admin => admin.keys('*')))).flat().includes(
        `app:${lookupKey('slug', 's0')}`
      )
    )

    for (const { id, slug } of inputs) {
      await registry.set(id, { plan: 'pro' })
      await until(() => one.invalidate({ id }).then(() => true, () => false))
      t.equal(
        (await until(async () => {
          const tenant = await two.find({ slug })
          return tenant?.plan === 'pro' ? tenant : undefined
        })).id,
        id
      )
    }
    t.equal((await two.findHost('s3.shop'))?.id, 't-3')
    t.equal((await two.find({ id: 't-4' }))?.slug, 's4')
    t.equal(one.health().status, 'ok')
  }
)
