// A change that a process has received is kept: no older record in Redis replaces it.
import type { TenantChange } from '@fastify-tenancy/core'
import { lookupKey } from '@fastify-tenancy/core/keys'
import { openRedis, type TenancyRedis } from '@fastify-tenancy/redis'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'

import { resolveResolverOptions } from '../../packages/resolver/src/options.ts'
import { TenantResolver } from '../../packages/resolver/src/resolver.ts'
import { noRedis } from '../support/fresh.ts'
import { startRedis, type RedisService } from '../support/services.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'
import { CountingRegistry } from './app.ts'

const acme: TenantChange = { id: 't-acme', slugs: ['acme'], domains: ['acme.shop'] }

/** A registry that reports its changes, as one that listens to the database does. */
class TellingRegistry extends CountingRegistry {
  #listeners = new Set<(change: TenantChange | 'all') => void>()

  watch = async (listener: (change: TenantChange | 'all') => void): Promise<() => Promise<void>> => {
    this.#listeners.add(listener)
    return async () => {
      this.#listeners.delete(listener)
    }
  }

  tell (change: TenantChange | 'all'): void {
    for (const listener of this.#listeners) listener(change)
  }
}

interface Process {
  readonly resolver: TenantResolver
  readonly redis: TenancyRedis
  advance(milliseconds: number): void
  status(): Promise<string | undefined>
}

async function start (
  t: Test,
  registry: CountingRegistry,
  url: string,
  cache: object = {}
): Promise<Process> {
  let now = 0
  const redis = openRedis(url, { namespace: 'changes' })
  const options = resolveResolverOptions({
    registry,
    baseDomain: 'example.com',
    cache: { jitter: 0, ...cache }
  })
  const resolver = new TenantResolver(registry, redis, options.cache, () => undefined, () => now)
  await resolver.start()
  t.teardown(async () => {
    await resolver.stop()
    await redis.close()
  })
  return {
    resolver,
    redis,
    advance (milliseconds) {
      now += milliseconds
    },
    status: async () => (await resolver.find({ slug: 'acme' }))?.status
  }
}

async function own (t: Test): Promise<{ service: RedisService; raw: Redis }> {
  const service = await startRedis()
  const raw = new Redis(service.url)
  t.teardown(async () => {
    raw.disconnect()
    await service.stop()
  })
  return { service, raw }
}

const key = `tenancy:changes:${lookupKey('slug', 'acme').slice('tenancy:'.length)}`

/** Reads until the record is in Redis, and resolves to it. */
function record (raw: Redis): Promise<string> {
  return until(async () => {
    const text = await raw.get(key)
    return text?.startsWith('{') ? text : undefined
  })
}

t.test(
  'CHG-02 a stalled Redis: its older record does not replace a change received otherwise',
  { skip: noRedis },
  async t => {
    const { service, raw } = await own(t)
    const registry = new TellingRegistry()
    const one = await start(t, registry, service.url)
    t.equal(await one.status(), 'active')
    const old = await record(raw)
    service.process.kill('SIGSTOP')
    await registry.set('t-acme', { status: 'suspended' })
    registry.tell(acme)
    t.equal(await one.status(), 'suspended', 'heard')
    service.process.kill('SIGCONT')
    await until(async () => one.redis.isAvailable && await raw.ping() === 'PONG')
    // Writes that were due during the stall are lost.
    for (let round = 0; round < 3; round++) {
      await raw.set(key, old)
      one.advance(10_000)
      t.equal(await one.status(), 'suspended')
    }
  }
)

t.test(
  'CHG-02 the same for a resumption, a rename, an invalidation by hand, and while the registry is away',
  { skip: noRedis },
  async t => {
    const { service, raw } = await own(t)
    const registry = new TellingRegistry()
    const one = await start(t, registry, service.url)
    await registry.set('t-acme', { status: 'suspended' })
    t.equal(await one.status(), 'suspended')
    const old = await record(raw)
    await registry.set('t-acme', { status: 'active' })
    service.process.kill('SIGSTOP')
    await t.rejects(one.resolver.invalidate(acme), { code: 'FST_TENANCY_REDIS_UNAVAILABLE' })
    service.process.kill('SIGCONT')
    await until(async () => one.redis.isAvailable && await raw.ping() === 'PONG')
    await raw.set(key, old)
    t.equal(await one.status(), 'active', 'announced in this process only')

    registry.failure = new Error('away')
    await raw.set(key, old)
    registry.tell(acme) // drops the process' cached copy
    await raw.set(key, old)
    await t.rejects(
      one.status(),
      { code: 'FST_TENANCY_REGISTRY_UNAVAILABLE' },
      'an outage does not bring it back'
    )
    registry.failure = undefined

    await registry.set('t-acme', { slug: 'apex' })
    registry.tell({ ...acme, slugs: ['acme', 'apex'] })
    await raw.set(key, old)
    t.equal(await one.resolver.find({ slug: 'acme' }), undefined)
  }
)

t.test(
  'CHG-02 a version decides over a record of a process whose clock is ahead',
  { skip: noRedis },
  async t => {
    const { service, raw } = await own(t)
    const registry = new TellingRegistry()
    const one = await start(t, registry, service.url)
    await one.status()
    const old = JSON.parse(await record(raw)) as { readAt: number }
    await registry.set('t-acme', { status: 'suspended' })
    registry.tell(acme)
    t.equal(await one.status(), 'suspended')
    await raw.set(key, JSON.stringify({ ...old, readAt: Date.now() + 60_000 }))
    one.advance(10_000)
    t.equal(await one.status(), 'suspended')
  }
)

t.test('CHG-02 more changes than are remembered one by one', { skip: noRedis }, async t => {
  const { service, raw } = await own(t)
  const registry = new TellingRegistry()
  const one = await start(t, registry, service.url, { max: 5 })
  await one.status()
  const old = await record(raw)
  await registry.set('t-acme', { status: 'suspended' })
  registry.tell(acme)
  for (let at = 0; at < 20; at++) registry.tell({ id: `n${at}`, slugs: [`n${at}`], domains: [] })
  await until(async () => (await raw.get(key))?.startsWith('-'))
  await raw.set(key, old)
  t.equal(await one.status(), 'suspended')
})

t.test(
  'CHG-02 a mark that failed in an outage is written when Redis is back',
  { skip: noRedis },
  async t => {
    const { service, raw } = await own(t)
    const registry = new TellingRegistry()
    const proxy = await tcpProxy(t, service.url)
    const one = await start(t, registry, proxy.url)
    await one.status()
    const old = await record(raw)
    proxy.blackHole()
    await registry.set('t-acme', { status: 'suspended' })
    registry.tell(acme)
    t.equal(await one.status(), 'suspended')
    t.equal(await raw.get(key), old, 'control: nothing could be written')
    proxy.restore()
    proxy.cut()
    await until(async () => await raw.get(key) !== old)
    t.equal(await (await start(t, registry, service.url)).status(), 'suspended')
  }
)

t.test('CHG-03 when the subscriber comes back, records that may be older than the gap are asked for again', {
  skip: noRedis
}, async t => {
  const { service, raw } = await own(t)
  const registry = new CountingRegistry()
  const one = await start(t, registry, service.url)
  await one.status()
  await record(raw)
  // Another process changes the tenant. Neither its mark in Redis nor its message arrives.
  await registry.set('t-acme', { status: 'suspended' })
  t.equal(await one.status(), 'active', 'control: it knows nothing of it')
  one.advance(10_000)
  t.equal(await one.status(), 'active', 'control: Redis has an older record, which is believed')
  await raw.client('KILL', 'TYPE', 'PUBSUB')
  await until(async () => await one.status() === 'suspended')
})
