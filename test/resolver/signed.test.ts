// EDG-02: what a writer with access to Redis can do to the resolver's records.
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'

import { lookupKey, Seal } from '@fastify-tenancy/core/keys'
import { openRedis } from '@fastify-tenancy/redis'
import { resolveResolverOptions } from '../../packages/resolver/src/options.ts'
import { TenantResolver } from '../../packages/resolver/src/resolver.ts'
import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { dbOf, suite } from '../support/suite.ts'
import { provision, testSecret } from '../support/tenants.ts'
import { until } from '../support/until.ts'
import { CountingRegistry } from './app.ts'

const [first, second] = ['a secret of the tests, 32 characters',
  'another secret of the tests, 32 of it'] as const
type Secret = string | readonly [string, string]

interface World {
  readonly registry: CountingRegistry
  readonly redis: Redis
  key(slug: string): string
  /** A process with this secret, or without one. */
  process(secret: Secret | undefined, cache?: object): Promise<TenantResolver>
  /** Resolves to the record of a slug, once it is in Redis. */
  stored(slug: string): Promise<string>
}

async function world (t: Test): Promise<World> {
  const registry = new CountingRegistry()
  const source = freshRedisOptions()
  const { host, port, keyPrefix } = source
  const redis = new Redis({ host, port })
  t.teardown(() => {
    redis.disconnect()
  })
  const key = (slug: string): string => keyPrefix + lookupKey('slug', slug)
  return {
    registry,
    redis,
    key,
    async process (secret, cache = {}) {
      const client = openRedis(source)
      const { cache: options, secrets } = resolveResolverOptions({
        registry,
        baseDomain: 'example.com',
        cache: { jitter: 0, ...cache },
        ...(secret !== undefined && { secret })
      })
      const resolver = new TenantResolver(registry, client, options, () => undefined, undefined, secrets)
      await resolver.start()
      t.teardown(async () => {
        await resolver.stop()
        await client.close()
      })
      return resolver
    },
    stored: slug => until(async () => await redis.get(key(slug)) ?? undefined)
  }
}

const forged = (slug: string, id: string): string =>
  JSON.stringify({
    v: 2,
    kind: 'slug',
    value: slug,
    readAt: Date.now(),
    freshUntil: Date.now() + 300_000,
    tenant: {
      id,
      slug,
      name: 'x',
      status: 'active',
      plan: 'free',
      isolation: 'rls',
      placement: { shard: 'default' },
      domains: [],
      settings: {},
      createdAt: new Date(),
      updatedAt: new Date(),
      version: 1
    }
  })

t.test('with Redis', { skip: noRedis }, async t => {
  t.test('EDG-02 with a secret a forged record is a miss, without one it is accepted', async t => {
    const { registry, redis, key, process } = await world(t)
    await redis.set(key('acme'), forged('acme', 't-globex'))
    t.equal(
      (await (await process(undefined)).find({ slug: 'acme' }))?.id,
      't-globex',
      'the control: a writer to Redis decides whose data is served'
    )
    await redis.set(key('acme'), forged('acme', 't-globex'))
    const signed = await process(first)
    t.equal((await signed.find({ slug: 'acme' }))?.id, 't-acme')
    t.equal(signed.health().droppedRecords, 1)
    const reads = registry.reads
    t.ok(await until(async () => (await redis.get(key('acme')))?.includes('t-acme')), 'it is replaced')
    t.equal((await (await process(first)).find({ slug: 'acme' }))?.id, 't-acme')
    t.equal(registry.reads, reads, 'a genuine record serves other processes')
  })

  t.test('EDG-02 records of others and old ones, replayed', async t => {
    const { registry, redis, key, process, stored } = await world(t)
    const writer = await process(first)
    for (const slug of ['acme', 'globex']) await writer.find({ slug })
    const [acme, globex] = [await stored('acme'), await stored('globex')]
    const seal = new Seal([first], 'resolver record', 'test')
    const body = acme.slice(acme.indexOf('\n') + 1)
    const replays: Record<string, string> = {
      "another tenant's record": globex,
      "another tenant's record under acme's name": globex.replace('"value":"globex"', '"value":"acme"'),
      'a body of its own behind a genuine signature': acme.replace('"plan":"free"', '"plan":"pro"'),
      'the body alone': body,
      'a later end': acme.replace(/^(.{44})\d+/, (_, head: string) => `${head}${Date.now() + 9e9}`),
      'a record past its end, with a longer life in Redis': seal.wrap(
        lookupKey('slug', 'acme'),
        body,
        Date.now() - 1
      ),
      'one signed for another use': new Seal([first], 'cached value', 'test').wrap(
        lookupKey('slug', 'acme'),
        body,
        Date.now() + 1e6
      ),
      'one signed for another installation': new Seal([first], 'resolver record', 'other').wrap(
        lookupKey('slug', 'acme'),
        body,
        Date.now() + 1e6
      ),
      'one signed with another secret': new Seal([second], 'resolver record', 'test').wrap(
        lookupKey('slug', 'acme'),
        body,
        Date.now() + 1e6
      )
    }
    for (const [name, text] of Object.entries(replays)) {
      await redis.set(key('acme'), text)
      const reader = await process(first)
      const reads = registry.reads
      t.equal((await reader.find({ slug: 'acme' }))?.id, 't-acme', name)
      t.equal(registry.reads, reads + 1, name)
      t.equal(reader.health().droppedRecords, 1, name)
    }
    registry.failure = new Error('down')
    for (const [name, text] of Object.entries(replays)) {
      await redis.set(key('acme'), text)
      await t.rejects((await process(first)).find({ slug: 'acme' }), {
        code: 'FST_TENANCY_REGISTRY_UNAVAILABLE'
      }, `${name}: not in an outage either`)
    }
  })

  t.test("EDG-02 a tenant's own old record is fresh for its ttl at most, and gone at its end", async t => {
    const { registry, redis, key, process, stored } = await world(t)
    const writer = await process(first, { ttl: '50ms', staleIfError: '400ms' })
    await writer.find({ slug: 'acme' })
    const old = await stored('acme')
    await registry.set('t-acme', { status: 'suspended' })
    await until(() => Date.now() > Number(/"freshUntil":(\d+)/.exec(old)?.[1]))
    await redis.set(key('acme'), old)
    t.equal((await (await process(first)).find({ slug: 'acme' }))?.status, 'suspended')
    registry.failure = new Error('down')
    await until(() => Date.now() > Number(/^.{44}(\d+)/.exec(old)?.[1]))
    await redis.set(key('acme'), old)
    await t.rejects((await process(first)).find({ slug: 'acme' }), {
      code: 'FST_TENANCY_REGISTRY_UNAVAILABLE'
    })
  })

  t.test('EDG-02 CON-18 a change of the secret costs no look-up, in either order', async t => {
    const { registry, process, stored } = await world(t)
    await (await process(first)).find({ slug: 'acme' })
    await stored('acme')
    const reads = registry.reads
    const changing = await process([second, first])
    t.equal((await changing.find({ slug: 'acme' }))?.id, 't-acme')
    t.equal(registry.reads, reads)
    await changing.find({ slug: 'globex' })
    await stored('globex')
    t.equal((await (await process(second)).find({ slug: 'globex' }))?.id, 't-globex')
    t.equal(registry.reads, reads + 1)
    t.equal(
      (await (await process(first)).find({ slug: 'globex' }))?.id,
      't-globex',
      'the old process asks the registry'
    )
    t.equal(registry.reads, reads + 2)
  })

  t.test("EDG-02 the suite signs with rls.secret: acme's host, globex' id", async t => {
    const on = await provision(t)
    const source = freshRedisOptions()
    await on.admin(
      "insert into notes (tenant_id, body) values ('id-acme', 'of acme'), ('id-globex', 'of globex')"
    )
    const redis = new Redis({ host: source.host, port: source.port })
    t.teardown(() => {
      redis.disconnect()
    })
    const app = await suite(t, on, { redis: source })
    app.get(
      '/notes',
      async request =>
        (await dbOf(request).selectFrom('notes').select('body').execute()).map(({ body }) => body)
    )
    app.get('/cached', async request => request.cache.wrap('k', () => 'loaded'))
    await app.ready()
    const get = async (url: string): Promise<unknown> =>
      (await app.inject({ url, headers: { host: 'acme.example.com' } })).json()
    await redis.set(source.keyPrefix + lookupKey('slug', 'acme'), forged('acme', 'id-globex'))
    t.same(await get('/notes'), ['of acme'])
    const reply = await app.inject({ url: '/cached', headers: { host: 'acme.example.com' } })
    t.equal(reply.body, 'loaded')
    const [entry = ''] = await redis.keys(`${source.keyPrefix}*:cache:kk`)
    t.match(await redis.get(entry), /~[\w-]{43}\d{13}\n"loaded"$/)
  })
})

t.test('EDG-02 without a secret the boot warns of writers to Redis', { skip: noRedis }, async t => {
  const bootOf = async (secret: string | false): Promise<string> => {
    const on = await provision(t, { secret })
    const lines: string[] = []
    const app = await suite(t, on, {
      redis: freshRedisOptions(),
      logStream: {
        write: line => {
          lines.push(line)
        }
      }
    })
    await app.ready()
    return lines.join('')
  }
  t.match(
    await bootOf(false),
    /in redis are not signed: a client of Redis can make a host serve another tenant/
  )
  t.notMatch(await bootOf(testSecret), /in redis are not signed/)
})

t.test('the secret has one place in the suite, and a form', async t => {
  t.throws(
    () =>
      resolveResolverOptions({
        registry: new CountingRegistry(),
        baseDomain: 'example.com',
        secret: 'short'
      }),
    {
      code: 'FST_TENANCY_OPTION_INVALID',
      message: /options\.secret must be a string of at least 32 characters.* got a string of 5 characters/
    }
  )
  const { resolveTenancyOptions } = await import('../../packages/fastify-tenancy/src/options.ts')
  for (const part of ['resolver', 'cache']) {
    t.throws(
      () =>
        resolveTenancyOptions({
          baseDomain: 'example.com',
          database: 'postgres://localhost/x',
          [part]: { secret: first }
        }),
      { message: new RegExp(`options\\.${part}\\.secret is not a known option: set options\\.rls\\.secret`) }
    )
  }
})
