import { Redis } from 'ioredis'
import t, { type Test } from 'tap'

import type { TenantChange } from '@fastify-tenancy/core'
import { invalidationChannel, lookupKey } from '@fastify-tenancy/core/keys'
import { openRedis, type TenancyRedis } from '@fastify-tenancy/redis'
import { resolveResolverOptions } from '../../packages/resolver/src/options.ts'
import { TenantResolver } from '../../packages/resolver/src/resolver.ts'
import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { startRedis } from '../support/services.ts'
import { until } from '../support/until.ts'
import { CountingRegistry, start } from './app.ts'

interface Node {
  readonly resolver: TenantResolver
  advance(milliseconds: number): void
}

// One process of several: with a connection and a clock of its own, on the same Redis and registry.
async function node (
  t: Test,
  registry: CountingRegistry,
  source: ReturnType<typeof freshRedisOptions> | string,
  cache: object = {},
  wrap = (redis: TenancyRedis): TenancyRedis => redis
): Promise<Node> {
  let now = 0
  const redis = openRedis(source)
  const options = resolveResolverOptions({
    registry,
    baseDomain: 'example.com',
    cache: { jitter: 0, ...cache }
  })
  const resolver = new TenantResolver(registry, wrap(redis), options.cache, () => undefined, () => now)
  await resolver.start()
  t.teardown(async () => {
    await resolver.stop()
    await redis.close()
  })
  return {
    resolver,
    advance (milliseconds) {
      now += milliseconds
    }
  }
}

// A client without a key prefix, which sees the real keys.
function plain (t: Test): Redis {
  const { host, port } = freshRedisOptions()
  const client = new Redis({ host, port })
  t.teardown(() => {
    client.disconnect()
  })
  return client
}

// Loses every message silently.
function deaf (redis: TenancyRedis): TenancyRedis {
  return new Proxy(redis, {
    get (target, name) {
      if (name === 'subscribe') return async () => async () => {}
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) as unknown : value
    }
  })
}

t.test('with Redis', { skip: noRedis }, async t => {
  t.test('REG-01 a record that one process found is read from Redis by another', async t => {
    const registry = new CountingRegistry()
    const source = freshRedisOptions()
    const [one, two] = [await node(t, registry, source), await node(t, registry, source)]
    const first = await one.resolver.find({ slug: 'acme' })
    await until(async () => {
      two.advance(5_000)
      const before = registry.reads
      await two.resolver.find({ slug: 'acme' })
      return registry.reads === before
    })
    const second = await two.resolver.find({ slug: 'acme' })
    t.same(second, first)
    t.ok(Object.isFrozen(second?.settings))
    t.throws(() => second?.createdAt.setTime(0), TypeError)
  })

  t.test('FLD-01 unknown names are never written to Redis', async t => {
    const source = freshRedisOptions()
    const { resolver } = await node(t, new CountingRegistry(), source)
    const client = plain(t)
    await resolver.find({ slug: 'acme' })
    for (let at = 0; at < 20; at++) await resolver.find({ slug: `n${at}` })
    const keys = await until(async () => {
      const found = await client.keys(`${source.keyPrefix}*`)
      return found.length > 0 && found
    })
    t.same(keys, [source.keyPrefix + lookupKey('slug', 'acme')])
  })

  t.test('REG-06 a corrupt, outdated or foreign record is dropped, counted and replaced', async t => {
    const registry = new CountingRegistry()
    const source = freshRedisOptions()
    const writer = await node(t, registry, source)
    const client = plain(t)
    await writer.resolver.find({ slug: 'acme' })
    await writer.resolver.find({ slug: 'globex' })
    const key = (slug: string): string => source.keyPrefix + lookupKey('slug', slug)
    const good = await until(async () => await client.get(key('acme')) ?? undefined)
    const globex = await until(async () => await client.get(key('globex')) ?? undefined)
    const record = JSON.parse(good) as { v: number; tenant: object }
    const bad: Record<string, string> = {
      'not JSON': '{"v":1,',
      'empty object': '{}',
      null: 'null',
      'a list': '[]',
      'an older schema': JSON.stringify({ ...record, v: 1 }),
      'a newer schema': JSON.stringify({ ...record, v: 3 }),
      'another host': globex,
      'another tenant under this host': JSON.stringify({ ...JSON.parse(globex) as object, value: 'acme' }),
      'another kind': JSON.stringify({ ...record, kind: 'domain' }),
      'a bad id': JSON.stringify({ ...record, tenant: { ...record.tenant, id: 'a:b' } }),
      'no status': JSON.stringify({ ...record, tenant: { ...record.tenant, status: 'fine' } }),
      'a property too many': JSON.stringify({ ...record, tenant: { ...record.tenant, isAdmin: true } }),
      '__proto__': good.replace('"settings":{}', '"settings":{"__proto__":{"polluted":1}}').replace(
        '"v":1',
        '"v":1,"__proto__":{"polluted":1}'
      )
    }
    for (const [name, text] of Object.entries(bad)) {
      await client.set(key('acme'), text)
      const { resolver } = await node(t, registry, source)
      const reads = registry.reads
      const tenant = await resolver.find({ slug: 'acme' })
      t.equal(tenant?.id, 't-acme', name)
      t.notOk(tenant !== undefined && 'polluted' in tenant.settings)
      t.equal(({} as { polluted?: number }).polluted, undefined)
      if (name === '__proto__') continue
      t.equal(registry.reads, reads + 1, name)
      t.equal(resolver.health().droppedRecords, 1, name)
      await until(async () =>
        (await client.get(key('acme')))?.includes('"t-acme"') && await client.get(key('acme')) !== text
      )
    }
  })

  t.test('REG-08 a change reaches another process', async t => {
    const registry = new CountingRegistry()
    const source = freshRedisOptions()
    const [one, two] = [await node(t, registry, source), await node(t, registry, source)]
    for (const { resolver } of [one, two]) t.equal((await resolver.find({ slug: 'acme' }))?.status, 'active')
    await registry.set('t-acme', { status: 'suspended' })
    const began = performance.now()
    await one.resolver.invalidate({ id: 't-acme' })
    await until(async () => (await two.resolver.find({ slug: 'acme' }))?.status === 'suspended')
    t.comment(`seen after ${(performance.now() - began).toFixed(1)} ms`)
  })

  t.test("REG-08 after a gap in the registry's changes its records in Redis are reread too", async t => {
    const listeners: ((change: TenantChange | 'all') => void)[] = []
    const registry = Object.assign(new CountingRegistry(), {
      watch: async (listener: (change: TenantChange | 'all') => void) => {
        listeners.push(listener)
        return async () => {}
      }
    })
    const source = freshRedisOptions()
    const client = plain(t)
    const [one, two] = [await node(t, registry, source), await node(t, registry, source)]
    await one.resolver.find({ slug: 'acme' })
    await until(() => client.exists(source.keyPrefix + lookupKey('slug', 'acme')))
    await registry.set('t-acme', { plan: 'pro' })
    t.equal(
      (await two.resolver.find({ slug: 'acme' }))?.plan,
      'free',
      'the control: the record would be believed'
    )
    for (const listener of listeners) listener('all')
    for (const { resolver } of [one, two]) t.equal((await resolver.find({ slug: 'acme' }))?.plan, 'pro')
    registry.failure = new Error('down')
    for (const listener of listeners) listener('all')
    t.equal(
      (await two.resolver.find({ slug: 'acme' }))?.plan,
      'pro',
      'what is there still serves in an outage'
    )
  })

  t.test('REG-08 with the message lost, a change is seen after localTtl', async t => {
    const registry = new CountingRegistry()
    const source = freshRedisOptions()
    const [one, two] = [await node(t, registry, source), await node(t, registry, source, {}, deaf)]
    await one.resolver.find({ slug: 'acme' })
    await two.resolver.find({ slug: 'acme' })
    await registry.set('t-acme', { status: 'suspended' })
    await one.resolver.invalidate({ id: 't-acme' })
    two.advance(3_900)
    t.equal(
      (await two.resolver.find({ slug: 'acme' }))?.status,
      'active',
      'the control: two really did not hear of it'
    )
    two.advance(1_100)
    t.equal((await two.resolver.find({ slug: 'acme' }))?.status, 'suspended')
  })

  t.test('REG-03 a name unknown to another process is found there once announced', async t => {
    const registry = new CountingRegistry()
    const source = freshRedisOptions()
    const [one, two] = [await node(t, registry, source), await node(t, registry, source)]
    t.equal(await two.resolver.find({ slug: 'newbie' }), undefined)
    await registry.insert({ id: 't-new', slug: 'newbie' })
    await one.resolver.invalidate({ id: 't-new' })
    await until(async () => (await two.resolver.find({ slug: 'newbie' }))?.id === 't-new')
  })

  t.test('a reader that was overtaken in another process does not put the old record back', async t => {
    const registry = new CountingRegistry()
    const source = freshRedisOptions()
    const [one, slow] = [await node(t, registry, source), await node(t, registry, source, {}, deaf)]
    const { promise, resolve: open } = Promise.withResolvers<void>()
    registry.gate = promise
    const overtaken = slow.resolver.find({ slug: 'acme' })
    await until(() => registry.reads === 1)
    registry.gate = undefined
    await registry.set('t-acme', { status: 'suspended' })
    await one.resolver.invalidate({ id: 't-acme' })
    open()
    t.equal((await overtaken)?.status, 'active')
    const client = plain(t)
    const key = source.keyPrefix + lookupKey('slug', 'acme')
    // Commands of one connection keep their order, so after this reply the refused write has been
    // tried.
    await slow.resolver.find({ slug: 'globex' })
    await until(() => client.exists(source.keyPrefix + lookupKey('slug', 'globex')))
    t.notMatch(await client.get(key), /active/)
    t.equal((await one.resolver.find({ slug: 'acme' }))?.status, 'suspended')
    t.ok(
      await until(async () => (await client.get(key))?.includes('"suspended"')),
      'a newer look-up replaces the mark'
    )
  })

  t.test('a message that makes no sense has everything asked for again', async t => {
    const registry = new CountingRegistry()
    const source = freshRedisOptions()
    const one = await node(t, registry, source)
    const client = plain(t)
    await one.resolver.find({ slug: 'acme' })
    for (const text of ['', 'acme', '{}', '{"id":1}', '[]']) {
      t.ok(one.resolver.lookup.peek({ kind: 'slug', value: 'acme' }))
      await client.publish(source.keyPrefix + invalidationChannel, text)
      await until(() => one.resolver.lookup.peek({ kind: 'slug', value: 'acme' }) === undefined)
      await one.resolver.find({ slug: 'acme' })
    }
  })

  t.test('a Redis record serves processes that never saw the tenant while the registry is down', async t => {
    const registry = new CountingRegistry()
    const source = freshRedisOptions()
    const one = await node(t, registry, source, { ttl: '1ms' })
    await one.resolver.find({ slug: 'acme' })
    const client = plain(t)
    await until(() => client.exists(source.keyPrefix + lookupKey('slug', 'acme')))
    registry.failure = new Error('down')
    const two = await node(t, registry, source, { ttl: '1ms' })
    t.equal((await two.resolver.find({ slug: 'acme' }))?.slug, 'acme')
    await t.rejects(two.resolver.find({ slug: 'globex' }), { code: 'FST_TENANCY_REGISTRY_UNAVAILABLE' })
  })

  t.test('REG-11 with Redis and registry down a cached tenant is served until it expires', async t => {
    const registry = new CountingRegistry()
    let server = await startRedis()
    t.teardown(() => server.stop())
    const one = await node(t, registry, server.url, { staleIfError: '1m' })
    await one.resolver.find({ slug: 'acme' })
    await server.stop()
    await t.rejects(
      one.resolver.invalidate({ id: 't-globex' }),
      { code: 'FST_TENANCY_REDIS_UNAVAILABLE' },
      'an invalidation never pretends'
    )
    registry.failure = new Error('down')
    one.advance(6_000)
    t.equal((await one.resolver.find({ slug: 'acme' }))?.slug, 'acme')
    t.equal(one.resolver.health().status, 'degraded')
    await t.rejects(one.resolver.find({ slug: 'a' }), { code: 'FST_TENANCY_REGISTRY_UNAVAILABLE' })
    one.advance(60_000)
    await t.rejects(one.resolver.find({ slug: 'acme' }), { code: 'FST_TENANCY_REGISTRY_UNAVAILABLE' })

    registry.failure = undefined
    t.equal((await one.resolver.find({ slug: 'acme' }))?.status, 'active', 'Redis alone is not missed')
    await registry.set('t-acme', { status: 'suspended' })
    t.equal(one.resolver.lookup.peek({ kind: 'slug', value: 'acme' })?.status, 'active')
    server = await startRedis({ port: server.port })
    await until(() => one.resolver.lookup.peek({ kind: 'slug', value: 'acme' }) === undefined, 10_000)
    t.equal(
      (await one.resolver.find({ slug: 'acme' }))?.status,
      'suspended',
      'what was missed meanwhile is asked again'
    )
  })

  t.test('a frozen Redis delays a look-up by no more than its command timeout', async t => {
    const server = await startRedis()
    t.teardown(() => server.stop())
    const { who } = await start(t, { redis: server.url, registry: new CountingRegistry() })
    t.equal(await who('acme.example.com'), 'acme')
    server.process.kill('SIGSTOP')
    t.teardown(() => {
      server.process.kill('SIGCONT')
    })
    t.equal(await who('globex.example.com'), 'globex', 'while it is frozen')
  })

  t.test('RED-01 an application starts without its Redis', async t => {
    const { who } = await start(t, { redis: 'redis://127.0.0.1:1' })
    t.equal(await who('acme.example.com'), 'acme')
  })

  t.test('a port that was passed in is not closed with the application', async t => {
    const redis = openRedis(freshRedisOptions())
    t.teardown(() => redis.close())
    const { app, who } = await start(t, { redis })
    t.equal(await who('acme.example.com'), 'acme')
    await app.close()
    t.equal(await redis.get('anything'), null)
  })
})
