// How many registry look-ups one client address may cause with names that belong to no tenant.
import t from 'tap'

import { openRedis } from '@fastify-tenancy/redis'
import { clientNetwork, MissBudget } from '../../packages/resolver/src/miss-budget.ts'
import { resolveResolverOptions } from '../../packages/resolver/src/options.ts'
import { TenantResolver } from '../../packages/resolver/src/resolver.ts'
import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { until } from '../support/until.ts'
import { CountingRegistry, start } from './app.ts'

function find ({ lookup }: TenantResolver, value: string): Promise<string | undefined> {
  return lookup.find({ kind: 'slug', value }, '192.0.2.1').then(tenant => tenant?.id)
}

let asked = 0

/**
 * Runs `check` while a hundred look-ups of an address without budget fill the queue, so that the
 * next one is refused.
 */
async function whileLineIsFull (
  registry: CountingRegistry,
  ask: (slug: string) => Promise<unknown>,
  check: () => Promise<unknown>
): Promise<void> {
  const { promise, resolve: open } = Promise.withResolvers<void>()
  registry.gate = promise
  const waiting = Array.from({ length: 100 }, () => ask(`late${asked++}`))
  await check()
  registry.gate = undefined
  open()
  await Promise.all(waiting)
}

t.test('FLD-01 an address that floods made-up names spends only its own budget', async t => {
  const { app, registry } = await start(t, { cache: { missesPerAddress: 20 } })
  const ask = async (
    host: string,
    remoteAddress: string
  ): Promise<{ status: number; retryAfter: unknown; body: string }> => {
    const { statusCode, headers, body } = await app.inject({ url: '/', headers: { host }, remoteAddress })
    return { status: statusCode, retryAfter: headers['retry-after'], body }
  }
  const { promise, resolve: open } = Promise.withResolvers<void>()
  registry.gate = promise
  let refused = 0
  const all = Array.from({ length: 400 }, (_, at) =>
    ask(`n${at}.example.com`, '203.0.113.7').then(answer => {
      if (answer.status === 429) refused++
      return answer
    }))
  await until(() => refused === 280)
  t.equal(registry.reads, 11, 'ten places, and one of its own for who is over the budget')
  registry.gate = undefined
  t.equal((await ask('a.example.com', '203.0.113.7')).status, 429, 'this tenant is not cached')
  open()
  const flood = await Promise.all(all)
  t.equal(flood.filter(({ status }) => status === 404).length, 120)
  t.equal(flood.filter(({ status }) => status === 429).length, 280)
  t.equal(registry.reads, 120)
  t.match(flood.at(-1), { retryAfter: '3', body: /FST_TENANCY_RATE_LIMITED/ })
  t.equal(
    (await ask('acme.example.com', '203.0.113.8')).status,
    200,
    'another address asks for the first time'
  )
  t.equal((await ask('nosuch.example.com', '203.0.113.8')).status, 404)
  t.equal(
    (await ask('acme.example.com', '203.0.113.7')).status,
    200,
    'a cached tenant is served to any address'
  )
  t.equal(
    (await ask('n1.example.com', '203.0.113.7')).status,
    404,
    'and so is an unknown name that is remembered'
  )
  t.equal(
    (await ask('globex.example.com', '203.0.113.7')).status,
    200,
    'one who asks for a tenant gets it when the line is free'
  )
  t.equal((await ask('a@b.example.com', '203.0.113.7')).status, 400)
})

t.test('FLD-01 all addresses of one IPv6 /64 share a budget, and the next /64 has another', async t => {
  const { app, registry } = await start(t, { cache: { missesPerAddress: 10 } })
  const ask = async (slug: string, remoteAddress: string): Promise<number> =>
    (await app.inject({ url: '/', headers: { host: `${slug}.example.com` }, remoteAddress })).statusCode
  const { promise, resolve: open } = Promise.withResolvers<void>()
  registry.gate = promise
  let refused = 0
  const all = Array.from({ length: 300 }, async (_, at) => {
    if (await ask(`n${at}`, `2001:db8:1:2:${at.toString(16)}::1`) === 429) refused++
  })
  await until(() => refused === 190)
  registry.gate = undefined
  open()
  await Promise.all(all)
  t.equal(registry.reads, 110)
  t.equal(await ask('other', '2001:db8:1:3::1'), 404)
  for (
    const [ip, network] of [
      ['192.0.2.1', '192.0.2.1'],
      ['::ffff:192.0.2.1', '192.0.2.1'],
      ['2001:DB8:0:0:1::', '2001:db8:0:0'],
      ['2001:db8::ffff', '2001:db8:0:0'],
      ['fe80::1%eth0', 'fe80:0:0:0'],
      ['::1', '0:0:0:0'],
      ['unix', 'unknown'],
      ['', 'unknown'],
      [undefined, 'unknown']
    ] as const
  ) t.equal(clientNetwork(ip), network, String(ip))
})

t.test('only look-ups that find no tenant spend the budget, and it refills with time', async t => {
  const registry = new CountingRegistry(
    Array.from({ length: 50 }, (_, at) => ({ id: `t-${at}`, slug: `s${at}` }))
  )
  let now = 0
  const options = resolveResolverOptions({
    registry,
    baseDomain: 'example.com',
    cache: { missesPerAddress: 5, jitter: 0 }
  })
  const { lookup } = new TenantResolver(registry, undefined, options.cache, () => undefined, () => now)
  const find = (value: string): Promise<unknown> =>
    lookup.find({ kind: 'slug', value }, '192.0.2.1').then(
      tenant => tenant?.id ?? 'nobody',
      (error: { code: string }) => error.code
    )
  for (let at = 0; at < 50; at++) t.equal(await find(`s${at}`), `t-${at}`)
  t.same(new Set(await Promise.all(Array.from({ length: 100 }, () => find('nosuch')))), new Set(['nobody']))
  t.equal(registry.reads, 51)
  registry.failure = new Error('down')
  for (let at = 0; at < 10; at++) t.equal(await find('unheard'), 'FST_TENANCY_REGISTRY_UNAVAILABLE')
  registry.failure = undefined
  for (let at = 0; at < 4; at++) t.equal(await find(`n${at}`), 'nobody')
  await whileLineIsFull(registry, find, async () => t.equal(await find('n5'), 'FST_TENANCY_RATE_LIMITED'))
  t.equal(await find('n4'), 'nobody', 'and when the line is free it goes on')
  now += 12_000
  t.equal(await find('n5'), 'nobody')
  await whileLineIsFull(registry, find, async () => t.equal(await find('n6'), 'FST_TENANCY_RATE_LIMITED'))
  now += 600_000
  for (let at = 10; at < 15; at++) t.equal(await find(`n${at}`), 'nobody')
  await whileLineIsFull(
    registry,
    find,
    async () => t.equal(await find('n15'), 'FST_TENANCY_RATE_LIMITED', "it is never more than one minute's")
  )
  t.equal(
    await lookup.find({ kind: 'slug', value: 'n16' }),
    undefined,
    'the application itself has no budget'
  )
})

t.test("a stale tenant copy is refreshed whatever the budget, and 'unlimited' disables it", async t => {
  let now = 0
  const registry = new CountingRegistry()
  const build = (missesPerAddress: number | 'unlimited'): TenantResolver => {
    const options = resolveResolverOptions({
      registry,
      baseDomain: 'example.com',
      cache: { missesPerAddress, jitter: 0 }
    })
    return new TenantResolver(registry, undefined, options.cache, () => undefined, () => now)
  }
  const built = build(1)
  await find(built, 'acme')
  await find(built, 'n1')
  await whileLineIsFull(
    registry,
    slug => find(built, slug),
    () => t.rejects(find(built, 'n2'), { code: 'FST_TENANCY_RATE_LIMITED', statusCode: 429 })
  )
  now += 6_000
  t.equal(await find(built, 'acme'), 't-acme')
  const free = build('unlimited')
  for (let at = 0; at < 1_000; at++) t.equal(await find(free, `n${at}`), undefined)
  for (const bad of [0, -1, '300', 'none', null])
    t.throws(() => build(bad as number), { message: /cache\.missesPerAddress must be a positive integer/ })
})

t.test('FLD-01 without budget, tenants that Redis has are still served', { skip: noRedis }, async t => {
  const registry = new CountingRegistry()
  const source = freshRedisOptions()
  const node = async (): Promise<TenantResolver> => {
    const redis = openRedis(source)
    t.teardown(() => redis.close())
    await redis.ready()
    return new TenantResolver(
      registry,
      redis,
      resolveResolverOptions({ registry, baseDomain: 'example.com', cache: { missesPerAddress: 1 } }).cache,
      () => undefined
    )
  }
  const [one, two] = [await node(), await node()]
  await find(one, 'acme')
  await find(two, 'nosuch')
  await whileLineIsFull(registry, slug => find(two, slug), async () => {
    await t.rejects(find(two, 'globex'), { code: 'FST_TENANCY_RATE_LIMITED' })
    t.equal(await until(() => find(two, 'acme').catch(() => undefined)), 't-acme')
    t.notOk(registry.asked.slice(1).includes('acme'))
  })
})

t.test('the memory of budgets is bounded', async t => {
  const budget = new MissBudget(1, () => 0)
  for (let at = 0; at < 20_000; at++) budget.spend(`10.${at >> 16}.${at >> 8 & 255}.${at & 255}`)
  t.ok(budget.spend('10.0.0.0'), 'the first was forgotten')
  t.notOk(budget.spend('10.0.78.31'), 'the last was not')
})
