import { mock } from 'node:test'
import t from 'tap'

import type { TenantChange, TenantRegistry } from '@fastify-tenancy/core'
import { resolveResolverOptions } from '../../packages/resolver/src/options.ts'
import { RegistryTier } from '../../packages/resolver/src/registry-tier.ts'
import { TenantResolver } from '../../packages/resolver/src/resolver.ts'
import { until } from '../support/until.ts'
import { CountingRegistry, start } from './app.ts'

// A resolver without Redis. Its clock moves only when a test moves it.
function build (
  registry: TenantRegistry = new CountingRegistry(),
  cache: object = {}
): { resolver: TenantResolver; advance(milliseconds: number): void } {
  let now = 0
  const options = resolveResolverOptions({
    registry,
    baseDomain: 'example.com',
    cache: { jitter: 0, ...cache }
  })
  return {
    resolver: new TenantResolver(registry, undefined, options.cache, () => undefined, () => now),
    advance (milliseconds) {
      now += milliseconds
    }
  }
}

const acme = { kind: 'slug', value: 'acme' } as const

/** Lets all pending promises settle that wait for no timer. */
async function settled (): Promise<void> {
  for (let turn = 0; turn < 10; turn++)
    await new Promise(resolve => {
      setImmediate(resolve)
    })
}

t.test('REG-01 a tenant that was found is not looked up again', async t => {
  const { who, registry } = await start(t)
  for (let at = 0; at < 5; at++) t.equal(await who('acme.example.com'), 'acme')
  t.equal(registry.reads, 1)
})

t.test('REG-02 an unknown name is looked up once per negativeTtl', async t => {
  const registry = new CountingRegistry()
  const { resolver, advance } = build(registry)
  for (let at = 0; at < 3; at++) t.equal(await resolver.find({ slug: 'nosuch' }), undefined)
  t.equal(registry.reads, 1)
  advance(9_999)
  await resolver.find({ slug: 'nosuch' })
  t.equal(registry.reads, 1)
  advance(1)
  await resolver.find({ slug: 'nosuch' })
  t.equal(registry.reads, 2)
})

t.test('REG-03 a tenant created after its name was unknown is found within negativeTtl', async t => {
  const registry = new CountingRegistry()
  const { resolver, advance } = build(registry)
  await resolver.find({ slug: 'newbie' })
  await registry.insert({ id: 't-new', slug: 'newbie' })
  t.equal(await resolver.find({ slug: 'newbie' }), undefined)
  advance(10_000)
  t.equal((await resolver.find({ slug: 'newbie' }))?.id, 't-new')
  for (const ref of [{ slug: 'second' }, { id: 't-2', slugs: ['second'], domains: [] }]) {
    t.equal(await resolver.find({ slug: 'second' }), undefined)
    if ('id' in ref) await registry.insert({ id: 't-2', slug: 'second' })
    await resolver.invalidate(ref)
  }
  t.equal((await resolver.find({ slug: 'second' }))?.id, 't-2')
})

t.test('REG-04 a hundred first requests at once are one look-up', async t => {
  const { who, registry } = await start(t)
  const answers = await Promise.all(Array.from({ length: 100 }, () => who('acme.example.com')))
  t.same(new Set(answers), new Set(['acme']))
  t.equal(registry.reads, 1)
})

t.test('REG-10 an outage of the registry is 503 and is not remembered', async t => {
  const { app, who, registry } = await start(t)
  registry.failure = new Error('down')
  t.equal(await who('acme.example.com'), 'REGISTRY_UNAVAILABLE')
  t.equal(await who('nosuch.example.com'), 'REGISTRY_UNAVAILABLE')
  t.equal(app.tenantResolver.health().unknown, 0)
  t.equal(app.tenantResolver.health().status, 'degraded')
  registry.failure = undefined
  t.equal(await who('acme.example.com'), 'acme')
  t.equal(await who('nosuch.example.com'), 'TENANT_UNKNOWN')
  t.equal(app.tenantResolver.health().status, 'ok')
})

t.test('REG-08 an unannounced change is seen after localTtl', async t => {
  const registry = new CountingRegistry()
  const { resolver, advance } = build(registry)
  await resolver.find({ slug: 'acme' })
  await registry.set('t-acme', { status: 'suspended' })
  advance(3_000)
  t.equal((await resolver.find({ slug: 'acme' }))?.status, 'active')
  advance(2_000)
  t.equal((await resolver.find({ slug: 'acme' }))?.status, 'suspended')
})

t.test('a busy tenant is renewed in the background, so that no request waits for it', async t => {
  const registry = new CountingRegistry()
  const { resolver, advance } = build(registry)
  await resolver.find({ slug: 'acme' })
  for (let second = 1; second <= 20; second++) {
    advance(1_000)
    t.ok(resolver.lookup.peek(acme), `second ${second}`)
    await until(() => registry.reads === Math.floor(1 + second / 4))
    await new Promise(resolve => {
      setImmediate(resolve)
    })
  }
})

t.test('jitter shortens lifetimes so that entries do not expire together', async t => {
  const slugs = Array.from({ length: 200 }, (_, at) => `s${at}`)
  const { resolver, advance } = build(
    new CountingRegistry(slugs.map((slug, at) => ({ id: `t-${at}`, slug }))),
    { jitter: 0.5, localTtl: '10s' }
  )
  await Promise.all(slugs.map(slug => resolver.find({ slug })))
  const left = (): number => slugs.filter(value => resolver.lookup.peek({ kind: 'slug', value })).length
  advance(3_900) // before the earliest renewal, at 0.8 of half a lifetime
  t.equal(left(), slugs.length)
  advance(3_500)
  t.ok(left() > 40 && left() < 160, `${left()} of 200 are left in the middle of the last half`)
  advance(2_600)
  t.equal(left(), 0)
})

t.test('REG-11 a remembered tenant is served while the registry is down, up to staleIfError', async t => {
  const registry = new CountingRegistry()
  const { resolver, advance } = build(registry, { staleIfError: '1m' })
  await resolver.find({ slug: 'acme' })
  registry.failure = new Error('down')
  for (let second = 10; second < 60; second += 10) {
    advance(10_000)
    t.equal((await resolver.find({ slug: 'acme' }))?.slug, 'acme', `after ${second} s`)
  }
  advance(10_000)
  await t.rejects(resolver.find({ slug: 'acme' }), { code: 'FST_TENANCY_REGISTRY_UNAVAILABLE' })
})

t.test('an invalidated tenant is not served stale', async t => {
  const registry = new CountingRegistry()
  const { resolver } = build(registry)
  await resolver.find({ slug: 'acme' })
  registry.failure = new Error('down')
  await resolver.invalidate({ id: 't-acme' })
  await t.rejects(resolver.find({ slug: 'acme' }), { code: 'FST_TENANCY_REGISTRY_UNAVAILABLE' })
})

t.test('a registry that never answers costs a caller its deadline and holds no slot', async t => {
  const never: TenantRegistry = Object.assign(new CountingRegistry(), {
    findBySlug: () => new Promise<undefined>(() => {})
  })
  const tier = new RegistryTier(never, () => performance.now(), 50)
  const results = await Promise.allSettled(
    Array.from({ length: 100 }, (_, at) => tier.find({ kind: 'slug', value: `s${at}` }, 'new'))
  )
  t.ok(
    results.every(result =>
      result.status === 'rejected' &&
      (result.reason as { code: string }).code === 'FST_TENANCY_REGISTRY_UNAVAILABLE'
    )
  )
  t.equal(tier.reads, 10, 'each caller waited for its own deadline only')
  t.equal((await tier.find({ kind: 'id', value: 't-acme' }, 'new'))?.slug, 'acme')
})

t.test('FLD-01 callers that time out leave no more look-ups running than there are slots', async t => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => {
    mock.timers.reset()
  })
  const running = new Set<() => void>()
  const slow: TenantRegistry = Object.assign(new CountingRegistry(), {
    findBySlug: () =>
      new Promise<undefined>(resolve => {
        running.add(() => {
          resolve(undefined)
        })
      })
  })
  const tier = new RegistryTier(slow, () => 0, 50)
  const ask = (names: string): Promise<unknown>[] =>
    Array.from(
      { length: 10 },
      (_, at) => tier.find({ kind: 'slug', value: `${names}${at}` }, 'new').catch(() => {})
    )
  const [first, second] = [ask('first'), ask('second')]
  mock.timers.tick(40)
  await settled()
  for (const answer of running) answer()
  running.clear()
  await Promise.all(first)
  await settled()
  t.equal(running.size, 10, 'the second ten are under way')
  const third = ask('third')
  mock.timers.tick(10)
  await Promise.all(second)
  await settled()
  t.equal(running.size, 10, 'and still are after all callers gave up')
  for (const answer of running) answer()
  await settled()
  t.equal(running.size, 20, 'then it is the turn of the third')
  for (const answer of running) answer()
  await Promise.all(third)
})

t.test('a look-up overtaken by a change is answered, but not remembered', async t => {
  const registry = new CountingRegistry()
  const { resolver } = build(registry)
  const { promise, resolve: open } = Promise.withResolvers<void>()
  registry.gate = promise
  const overtaken = resolver.find({ slug: 'acme' })
  await until(() => registry.reads === 1)
  await registry.set('t-acme', { status: 'suspended' })
  registry.gate = undefined
  await resolver.invalidate({ id: 't-acme', slugs: ['acme'], domains: [] })
  const after = resolver.find({ slug: 'acme' })
  t.equal((await after)?.status, 'suspended', 'a request after the change does not join the older look-up')
  open()
  t.equal((await overtaken)?.status, 'active')
  t.equal((await resolver.find({ slug: 'acme' }))?.status, 'suspended')
})

t.test('invalidation by id drops the tenant under every name', async t => {
  const registry = new CountingRegistry()
  const { resolver } = build(registry)
  const all = async (): Promise<(string | undefined)[]> =>
    Promise.all([
      resolver.find({ slug: 'acme' }),
      resolver.find({ id: 't-acme' }),
      resolver.lookup.find({ kind: 'domain', value: 'acme.shop' })
    ]).then(found => found.map(tenant => tenant?.status))
  t.same(await all(), ['active', 'active', 'active'])
  await registry.set('t-acme', { status: 'suspended' })
  await resolver.invalidate({ id: 't-acme' })
  t.same(await all(), ['suspended', 'suspended', 'suspended'])
  await registry.set('t-acme', { status: 'active' })
  await resolver.invalidate({ slug: 'acme' })
  t.same(await all(), ['active', 'active', 'active'])
  await registry.set('t-acme', { slug: 'acme2', domains: [] })
  await resolver.invalidate({ id: 't-acme' })
  t.same(await all(), [undefined, 'active', undefined])
})

t.test("a registry's changes are applied, and all entries revalidated after a gap", async t => {
  const registry = new CountingRegistry()
  let tell: ((change: TenantChange | 'all') => void) | undefined
  let ended = false
  const watching = Object.assign(registry, {
    async watch (listener: (change: TenantChange | 'all') => void) {
      tell = listener
      return async () => {
        ended = true
      }
    }
  })
  const { resolver } = build(watching)
  await resolver.start()
  await resolver.find({ slug: 'acme' })
  await registry.set('t-acme', { status: 'suspended' })
  tell?.({ id: 't-acme', slugs: ['acme'], domains: [] })
  t.equal((await resolver.find({ slug: 'acme' }))?.status, 'suspended')
  await registry.set('t-acme', { status: 'active' })
  tell?.('all')
  t.equal((await resolver.find({ slug: 'acme' }))?.status, 'active')
  await resolver.stop()
  t.ok(ended)
})

t.test("a registry's answer for another tenant is refused", async t => {
  const inner = new CountingRegistry()
  const lax: TenantRegistry = Object.assign(new CountingRegistry(), {
    findBySlug: () => inner.findById('t-globex'),
    findByDomain: () => inner.findById('t-globex')
  })
  const { resolver } = build(lax)
  t.equal(await resolver.find({ slug: 'acme' }), undefined)
  t.equal(await resolver.lookup.find({ kind: 'domain', value: 'acme.shop' }), undefined)
  t.equal((await resolver.find({ slug: 'globex' }))?.id, 't-globex')
})

t.test('FLD-01 a flood of made-up names pushes out no tenant and holds no memory', async t => {
  const registry = new CountingRegistry()
  const { resolver } = build(registry, { max: 100 })
  await resolver.find({ slug: 'acme' })
  for (let at = 0; at < 5_000; at += 100)
    await Promise.all(Array.from({ length: 100 }, (_, next) => resolver.find({ slug: `n${at + next}` })))
  t.match(resolver.health(), { tenants: 1, unknown: 100 })
  const reads = registry.reads
  await resolver.find({ slug: 'acme' })
  t.equal(registry.reads, reads)
})

t.test('FLD-01 look-ups of new names queue in a bounded line, without known tenants', async t => {
  const registry = new CountingRegistry()
  const { resolver, advance } = build(registry)
  await resolver.find({ slug: 'acme' })
  const { promise, resolve: open } = Promise.withResolvers<void>()
  registry.gate = promise
  const flood = Array.from(
    { length: 3_000 },
    (_, at) =>
      resolver.find({ slug: `n${at}` }).then(() => 'answered', (error: { code: string }) => error.code)
  )
  await until(() => registry.reads === 11)
  registry.gate = undefined
  advance(6_000)
  t.equal((await resolver.find({ slug: 'acme' }))?.slug, 'acme')
  t.equal(registry.reads, 12, 'ten of the flood, and acme twice')
  open()
  const results = await Promise.all(flood)
  t.equal(results.filter(result => result === 'answered').length, 1_010)
  t.equal(results.filter(result => result === 'FST_TENANCY_REGISTRY_UNAVAILABLE').length, 1_990)
})

t.test('the memory of the process is bounded, and its index of names with it', async t => {
  const { resolver } = build(
    new CountingRegistry(Array.from({ length: 500 }, (_, at) => ({ id: `t-${at}`, slug: `s${at}` }))),
    { max: 50 }
  )
  for (let at = 0; at < 500; at++) await resolver.find({ slug: `s${at}` })
  t.equal(resolver.health().tenants, 50)
})

t.test('isKnownHost names the hosts for which a server may obtain a certificate', async t => {
  const { app, registry } = await start(t)
  const known = (host: string): Promise<boolean> => app.tenantResolver.isKnownHost(host)
  t.ok(await known('acme.example.com'))
  t.ok(await known('ACME.shop.:443'))
  await registry.set('t-globex', { status: 'deleting' })
  for (
    const host of ['globex.example.com', 'nosuch.example.com', 'www.example.com', 'example.com',
      'a.b.example.com', 'other.org', '127.0.0.1', 'a@b', '', 'id:t-acme']
  ) t.notOk(await known(host), host)
  t.equal((await app.tenantResolver.findHost('acme.example.com:8080'))?.id, 't-acme')
})

t.test('FLD-01 with an index of all names an unknown name costs no look-up', async t => {
  let lists = 0
  const registry = Object.assign(new CountingRegistry(), { watch: async () => async () => {} })
  const list = registry.list
  registry.list = filter => {
    lists++
    return list(filter)
  }
  const { resolver } = build(registry, { index: true })
  await resolver.start()
  await until(() => resolver.lookup.peek({ kind: 'slug', value: 'n0' }) === null)
  for (let at = 0; at < 1_000; at++) t.equal(await resolver.find({ slug: `n${at}` }), undefined)
  t.equal(await resolver.lookup.find({ kind: 'domain', value: 'nobody.shop' }), undefined)
  t.equal(registry.reads, 0)
  t.equal(resolver.health().unknown, 0, 'nor memory')
  t.equal((await resolver.find({ slug: 'acme' }))?.id, 't-acme')
  t.equal((await resolver.lookup.find({ kind: 'domain', value: 'acme.shop' }))?.id, 't-acme')
  t.equal((await resolver.find({ id: 't-globex' }))?.slug, 'globex')
  await registry.insert({ id: 't-new', slug: 'newbie', domains: ['new.shop'] })
  t.equal(await resolver.find({ slug: 'newbie' }), undefined)
  await resolver.invalidate({ id: 't-new' })
  t.equal((await resolver.find({ slug: 'newbie' }))?.id, 't-new')
  t.equal((await resolver.lookup.find({ kind: 'domain', value: 'new.shop' }))?.id, 't-new')
  t.equal(lists, 1)
  await registry.insert({ id: 't-2', slug: 'missed' })
  resolver.lookup.invalidateAll()
  t.equal(
    (await resolver.find({ slug: 'missed' }))?.id,
    't-2',
    'while the index is read again, everything is looked up'
  )
  await until(() => resolver.lookup.peek({ kind: 'slug', value: 'n1' }) === null)
  t.equal(lists, 2)
  await resolver.stop()
})

t.test('an unreadable index denies no name, and one without change events stops the boot', async t => {
  const registry = Object.assign(new CountingRegistry(), {
    watch: async () => async () => {},
    list: () => {
      throw new Error('down')
    }
  })
  const { resolver } = build(registry, { index: true })
  await resolver.start()
  t.equal((await resolver.find({ slug: 'acme' }))?.id, 't-acme')
  await resolver.stop()
  t.throws(() => build(new CountingRegistry(), { index: true }), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /cache\.index needs/
  })
})
