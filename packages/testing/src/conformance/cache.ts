import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'

import type { ConformanceCheck } from './check.ts'

/** One tenant's cache, with the methods of `request.cache`. */
export interface CacheUnderTest {
  get(key: string): Promise<unknown>
  set(
    key: string,
    value: unknown,
    options?: { readonly ttl?: string; readonly tags?: readonly string[] }
  ): Promise<void>
  delete(...keys: string[]): Promise<number>
  has(key: string): Promise<boolean>
  getMany(keys: readonly string[]): Promise<unknown[]>
  increment(key: string, by?: number): Promise<number>
  wrap<T>(key: string, load: () => T | Promise<T>): Promise<T>
  invalidateTag(tag: string): Promise<void>
  flush(): Promise<void>
}

/** Options of {@link cacheConformance}. */
export interface CacheConformanceOptions {
  /** Advances the clock of the store by milliseconds. Without it, expiry is not checked. */
  readonly advance?: (milliseconds: number) => void | Promise<void>
}

type Open = (tenant: string) => CacheUnderTest | Promise<CacheUnderTest>
type Check = (open: Open, options: CacheConformanceOptions) => Promise<void>

/**
 * Returns checks for the guarantees of `request.cache` beyond its types. The checks share nothing
 * and use random tenants, so they may run in parallel over one store.
 *
 * @param open returns the cache of a tenant by its id; calls with the same id return caches of the
 * same tenant
 */
export function cacheConformance (open: Open, options: CacheConformanceOptions = {}): ConformanceCheck[] {
  const all = options.advance === undefined ? promises : { ...promises, ...timed }
  return Object.entries(all).map(([name, check]) => ({ name, run: () => check(open, options) }))
}

const promises: Record<string, Check> = {
  'a miss is undefined, null is a value, and undefined is not stored': async open => {
    const cache = await open(randomUUID())
    assert.equal(await cache.get('k'), undefined)
    await cache.set('k', null)
    assert.equal(await cache.get('k'), null)
    assert.equal(await cache.has('k'), true)
    await cache.set('other', undefined)
    assert.equal(await cache.has('other'), false)
  },

  'any string is a key, and keys that look alike are apart': async open => {
    const cache = await open(randomUUID())
    const keys = ['', ' ', 'a:b', 'a', 'b', '*', 'a*', '{a}', '__proto__', 'constructor', 'é', 'e\u0301',
      'k'.repeat(2_000)]
    for (const [at, key] of keys.entries()) await cache.set(key, at)
    assert.deepEqual(await cache.getMany(keys), keys.map((_, at) => at))
  },

  'a tenant does not see, count, change or remove the values of another': async open => {
    const [one, other] = [await open(randomUUID()), await open(randomUUID())]
    await one.set('k', 'one', { tags: ['t'] })
    await one.increment('n', 5)
    assert.equal(await other.get('k'), undefined)
    assert.equal(await other.has('k'), false)
    assert.deepEqual(await other.getMany(['k', 'n']), [undefined, undefined])
    assert.equal(await other.increment('n'), 1)
    assert.equal(await other.wrap('k', () => 'other'), 'other')
    await other.delete('k', 'n')
    await other.invalidateTag('t')
    await other.flush()
    assert.equal(await one.get('k'), 'one')
    assert.equal(await one.get('n'), 5)
  },

  'tenants whose ids and keys join to one text are apart': async open => {
    const id = randomUUID()
    const [short, long] = [await open(id), await open(`${id}-a`)]
    await short.set('a:k', 'short')
    await short.set('-a:k', 'short')
    assert.equal(await long.get('k'), undefined)
    await long.flush()
    assert.equal(await short.get('a:k'), 'short')
  },

  'delete tells how many keys held a value': async open => {
    const cache = await open(randomUUID())
    await cache.set('a', 1)
    await cache.set('b', 2)
    assert.equal(await cache.delete('a', 'b', 'c'), 2)
    assert.equal(await cache.has('a'), false)
  },

  'increments at once are all counted': async open => {
    const cache = await open(randomUUID())
    const sums = await Promise.all(Array.from({ length: 20 }, () => cache.increment('n', 2)))
    assert.deepEqual(sums.toSorted((a, b) => a - b), Array.from({ length: 20 }, (_, at) => 2 * at + 2))
  },

  'a value comes back as it would from the store, from the first call on': async open => {
    const cache = await open(randomUUID())
    const first = await cache.wrap<unknown>('k', () => ({ at: new Date(0), list: [1] }))
    assert.deepEqual(first, await cache.wrap<unknown>('k', () => 'stored already'))
    ;(first as { list: number[] }).list.push(2)
    assert.deepEqual(
      (await cache.get('k') as { list: number[] }).list,
      [1],
      'each caller has a copy of its own'
    )
  },

  'a load runs once for all that ask at the same time, and a failed one is not stored': async open => {
    const cache = await open(randomUUID())
    let loads = 0
    const load = async (): Promise<number> => ++loads
    assert.deepEqual(
      await Promise.all([cache.wrap('k', load), cache.wrap('k', load), cache.wrap('k', load)]),
      [1, 1, 1]
    )
    await assert.rejects(cache.wrap('bad', () => Promise.reject(new Error('no'))), /no/)
    assert.equal(await cache.has('bad'), false)
  },

  'a load that was overtaken by a flush or a delete is not stored': async open => {
    for (const change of ['flush', 'delete'] as const) {
      const cache = await open(randomUUID())
      const { promise: isLoading, resolve: begin } = Promise.withResolvers<void>()
      const { promise: old, resolve: end } = Promise.withResolvers<string>()
      const loaded = cache.wrap('k', () => {
        begin()
        return old
      })
      await isLoading
      await (change === 'flush' ? cache.flush() : cache.delete('k'))
      end('old')
      assert.equal(await loaded, 'old')
      assert.equal(await cache.get('k'), undefined, `after ${change}`)
    }
  },

  'a tag removes what carries it, and nothing else': async open => {
    const cache = await open(randomUUID())
    await cache.set('tagged', 1, { tags: ['t', 'u'] })
    await cache.set('other', 2, { tags: ['u'] })
    await cache.invalidateTag('t')
    assert.deepEqual(await cache.getMany(['tagged', 'other']), [undefined, 2])
  },

  'flush removes everything of the tenant': async open => {
    const cache = await open(randomUUID())
    for (let n = 0; n < 20; n++) await cache.set(`k${n}`, n)
    await cache.flush()
    for (let n = 0; n < 20; n++) assert.equal(await cache.get(`k${n}`), undefined)
  }
}

const timed: Record<string, Check> = {
  'a value ends with its ttl': async (open, { advance }) => {
    const cache = await open(randomUUID())
    await cache.set('k', 1, { ttl: '10s' })
    await advance?.(5_000)
    assert.equal(await cache.get('k'), 1)
    await advance?.(5_001)
    assert.equal(await cache.get('k'), undefined)
  }
}
