// EDG-02: what a writer with access to Redis can do to cached values.
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'

import type { CacheOptions } from '@fastify-tenancy/cache'
import { installationKey, Seal, tenantKey } from '@fastify-tenancy/core/keys'

import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { appWith, cacheOf } from './stub.ts'

const [first, second] = ['a secret of the tests, 32 characters',
  'another secret of the tests, 32 of it'] as const

interface World {
  readonly redis: Redis
  app(options?: CacheOptions): Promise<FastifyInstance>
  entry(tenant: string, key: string): string
}

function world (t: Test): World {
  const source = freshRedisOptions()
  const redis = new Redis({ host: source.host, port: source.port })
  t.teardown(() => {
    redis.disconnect()
  })
  return {
    redis,
    entry: (tenant, key) => source.keyPrefix + installationKey('test', tenantKey(tenant, 'cache', `k${key}`)),
    async app (options = { secret: first }) {
      const app = await appWith({ redis: source, ...options })
      t.teardown(() => app.close())
      await app.ready()
      return app
    }
  }
}

t.test('with Redis', { skip: noRedis }, async t => {
  t.test('EDG-02 a value of another writer is a miss, but accepted without a secret', async t => {
    const { redis, app, entry } = world(t)
    const plain = await app({})
    await cacheOf(plain, 'acme').set('k', 'good')
    const forge = async (): Promise<void> => {
      const found = await redis.get(entry('acme', 'k')) ?? ''
      await redis.set(entry('acme', 'k'), `${found.slice(0, 24)}\n"forged"`)
    }
    await forge()
    t.equal(await cacheOf(plain, 'acme').get('k'), 'forged', 'the control')
    const signed = await app()
    const cache = cacheOf(signed, 'acme')
    t.equal(await cache.get('k'), undefined)
    t.same(await cache.getMany(['k', 'k']), [undefined, undefined])
    t.equal(await cache.has('k'), false)
    t.equal(await cache.wrap('k', () => 'loaded'), 'loaded')
    t.equal(await cache.get('k'), 'loaded')
    await forge()
    t.equal(await cache.get('k'), undefined)
  })

  t.test('EDG-02 a moved, altered, prolonged or expired value is a miss', async t => {
    const { redis, app, entry } = world(t)
    const signed = await app()
    const [acme, globex] = [cacheOf(signed, 'acme'), cacheOf(signed, 'globex')]
    await acme.set('k', 'of acme')
    await acme.set('other', 'of another key')
    await acme.set('tagged', 'tagged', { tags: ['t', 'u'] })
    await acme.wrap('stale', () => 'stale', { ttl: '1h', staleFor: '1h' })
    await globex.set('k', 'of globex')
    const of = async (tenant: string, key: string): Promise<string> =>
      await redis.get(entry(tenant, key)) ?? ''
    const [mine, other, theirs, tagged, stale] = [await of('acme', 'k'), await of('acme', 'other'),
      await of('globex', 'k'), await of('acme', 'tagged'), await of('acme', 'stale')]
    const epoch = mine.slice(0, 24)
    const seal = new Seal([first], 'cached value', 'test')
    const ended = Date.now() - 1
    const key = tenantKey('acme', 'cache', 'kk')
    const bad: Record<string, string> = {
      "another tenant's value": epoch + theirs.slice(24),
      'a value of another key': epoch + other.slice(24),
      'a changed value': mine.replace('of acme', 'forged!'),
      'no seal': `${epoch}\n"forged"`,
      'half a seal': `${epoch}~${mine.slice(25, 60)}\n"of acme"`,
      'a later end': mine.replace(/(~.{43})\d+/, (_, head: string) => `${head}${Date.now() + 9e9}`),
      'a value past its end, with a longer life in Redis': `${epoch}~${
        seal.sign({ key, expiresAt: ended, note: '', value: '"old"' })
      }${ended}\n"old"`,
      'tags that were taken away': tagged.replace(/^(.{24}).{32}(~.{43}\d+)\[.*\]/, '$1$2'),
      'a later stale time': epoch + stale.slice(24).replace(/\[\d+\]/, `[${Date.now() + 9e9}]`),
      'a seal of another use': `${epoch}~${
        new Seal([first], 'resolver record', 'test').sign({
          key,
          expiresAt: ended + 9e9,
          note: '',
          value: '"x"'
        })
      }${ended + 9e9}\n"x"`,
      'a seal of another installation': `${epoch}~${
        new Seal([first], 'cached value', 'other').sign({
          key,
          expiresAt: ended + 9e9,
          note: '',
          value: '"x"'
        })
      }${ended + 9e9}\n"x"`
    }
    for (const [name, text] of Object.entries(bad)) {
      await redis.set(entry('acme', 'k'), text)
      t.equal(await acme.get('k'), undefined, name)
      t.equal(await acme.wrap('k', () => 'loaded'), 'loaded', name)
    }
    await redis.set(entry('acme', 'k'), mine)
    t.equal(await acme.get('k'), 'of acme', 'the control: the genuine one is read')
    t.equal(await acme.get('tagged'), 'tagged')
    await acme.invalidateTag('u')
    t.equal(await acme.get('tagged'), undefined, 'tags work on')
  })

  t.test('EDG-02 counters are trusted: a whole number under any key, and nothing else', async t => {
    const { redis, app, entry } = world(t)
    const cache = cacheOf(await app(), 'acme')
    await cache.set('n', 5)
    t.equal(await cache.increment('n', 2), 7, 'a signed number becomes a counter')
    t.equal(await cache.increment('n'), 8)
    t.equal(await cache.get('n'), 8)
    await t.rejects(cache.set('text', 'x').then(() => cache.increment('text')), {
      code: 'FST_TENANCY_CACHE_VALUE_REFUSED'
    })
    await cache.set('k', { role: 'user' })
    const epoch = (await redis.get(entry('acme', 'k')) ?? '').slice(0, 24)
    await redis.set(entry('acme', 'k'), `${epoch}n\n{"role":"admin"}`)
    t.equal(await cache.get('k'), undefined, 'never an object')
  })

  t.test('EDG-02 CON-18 while the secret is changed, both are read and the new one signs', async t => {
    const { app } = world(t)
    const [old, both, fresh] = [await app({ secret: first }), await app({ secret: [second, first] }),
      await app({ secret: second })].map(each => cacheOf(each, 'acme')) as [
        ReturnType<typeof cacheOf>,
        ReturnType<typeof cacheOf>,
        ReturnType<typeof cacheOf>
      ]
    await old.set('k', 1)
    t.equal(await both.get('k'), 1)
    await both.set('k', 2)
    t.equal(await fresh.get('k'), 2)
    t.equal(await old.get('k'), undefined)
  })

  t.test('EDG-02 the copies of this process are not verified again', async t => {
    const { app } = world(t)
    const local = cacheOf(await app({ secret: first, local: { ttl: '1m' } }), 'acme')
    await local.set('k', 'value')
    t.equal(await local.get('k'), 'value')
    const genuine = Seal.prototype.isGenuine
    let verified = 0
    Seal.prototype.isGenuine = function (...args) {
      verified++
      return Reflect.apply(genuine, this, args) as boolean
    }
    t.teardown(() => {
      Seal.prototype.isGenuine = genuine
    })
    for (let n = 0; n < 10; n++) t.equal(await local.get('k'), 'value')
    t.ok(verified <= 1, `${verified} verified`)
  })
})
