// What a process forgets when it announces a change, and when a database contradicts its record.
import { lookupKey } from '@fastify-tenancy/core/keys'
import { openRedis, type TenancyRedis } from '@fastify-tenancy/redis'
import t, { type Test } from 'tap'

import { resolveResolverOptions } from '../../packages/resolver/src/options.ts'
import { TenantResolver } from '../../packages/resolver/src/resolver.ts'
import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { until } from '../support/until.ts'
import { CountingRegistry } from './app.ts'

async function resolverOf (
  t: Test,
  registry: CountingRegistry,
  redis?: TenancyRedis
): Promise<TenantResolver> {
  const { cache } = resolveResolverOptions({
    registry,
    baseDomain: 'example.com',
    cache: { ttl: '1h', localTtl: '1h' }
  })
  const resolver = new TenantResolver(registry, redis, cache, () => undefined)
  await resolver.start()
  t.teardown(() => resolver.stop())
  return resolver
}

t.test('a tenant that its database locks out is looked up again once a second', async t => {
  const registry = new CountingRegistry()
  const resolver = await resolverOf(t, registry)
  const acme = await resolver.find({ slug: 'acme' })
  const globex = await resolver.find({ slug: 'globex' })
  if (acme === undefined || globex === undefined) throw new Error('the registry has both tenants')
  const reads = async (slug: string): Promise<number> => {
    const before = registry.reads
    await resolver.find({ slug })
    return registry.reads - before
  }
  const began = performance.now()
  resolver.doubt(acme)
  t.equal(await reads('acme'), 1)
  for (let turn = 0; turn < 50; turn++) {
    resolver.doubt(acme)
    if (await reads('acme') > 0) {
      t.ok(performance.now() - began > 900, 'a second look-up within a second')
      break
    }
  }
  resolver.doubt(globex)
  t.equal(await reads('globex'), 1, 'another tenant does not wait for it')
  await until(async () => {
    resolver.doubt(acme)
    return await reads('acme') === 1
  })
})

t.test('REG-08 a record that was read while its mark was written is forgotten, too', {
  skip: noRedis
}, async t => {
  const source = freshRedisOptions()
  const port = openRedis(source)
  t.teardown(() => port.close())
  const registry = new CountingRegistry()
  const { promise: mayMark, resolve: mark } = Promise.withResolvers<void>()
  let isMarking = false
  const slow = new Proxy(port, {
    get (target, name) {
      if (name === 'set')
        return async (...args: Parameters<TenancyRedis['set']>) => {
          isMarking = true
          await mayMark
          return port.set(...args)
        }
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) as unknown : value
    }
  })
  const resolver = await resolverOf(t, registry, slow)
  await resolver.find({ slug: 'acme' })
  const key = lookupKey('slug', 'acme')
  const text = await until(async () => await port.get(key) ?? undefined)
  // Written by a process whose clock is ahead, so its age does not show that it is outdated.
  const ahead = Date.now() + 600_000
  const record = JSON.stringify({ ...JSON.parse(text) as object, readAt: ahead, freshUntil: ahead + 600_000 })
  await registry.set('t-acme', { status: 'suspended' })
  const announced = resolver.invalidate({ id: 't-acme' })
  await until(() => isMarking)
  await port.set(key, record)
  t.equal((await resolver.find({ slug: 'acme' }))?.status, 'active', 'control: the old record is believed')
  mark()
  await announced
  t.equal((await resolver.find({ slug: 'acme' }))?.status, 'suspended')
})
