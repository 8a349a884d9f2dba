import { createHash } from 'node:crypto'

import { tenantKey, type KeySpace } from '@fastify-tenancy/core'
import type { TenancyRedis } from '@fastify-tenancy/redis'

import { entryHeader, entryId, markLength, parseEntry, token } from './entry.ts'
import { CacheValueError } from './errors.ts'
import { begin } from './lua/begin.ts'
import { increment } from './lua/increment.ts'
import { lock } from './lua/lock.ts'
import { remove } from './lua/remove.ts'
import { unlock } from './lua/unlock.ts'
import { write } from './lua/write.ts'
import { miss, type CacheLock, type CacheRead, type CacheStore, type CacheWrite, type Stamp } from './store.ts'

/** Milliseconds that a token lives at least; writing an entry prolongs it to the entry's own life. */
const tokenLife = 86_400_000
/** Milliseconds that a removal is remembered: loads that take longer may store what was removed. */
const removalLife = 60_000
const longestKey = 512

/** Values in Redis. Every key of a tenant has its hash tag, so that each method is one command also on a Cluster. */
export class RedisStore implements CacheStore {
  readonly #redis: TenancyRedis

  constructor (redis: TenancyRedis) {
    this.#redis = redis
  }

  peek (): undefined {}

  /** `MGET epoch entry…`, and a second MGET for the tokens of the tags where there are any. */
  async read (tenant: string, keys: readonly string[]): Promise<CacheRead[]> {
    const [epoch, ...raws] = await this.#redis.mget([epochKey(tenant), ...keys.map(key => redisKey(tenant, 'cache', key))])
    if (epoch === null || epoch === undefined) return keys.map(() => miss(undefined))
    const entries = raws.map(raw => raw === null ? undefined : parseEntry(raw, epoch))
    const tags = new Set(entries.flatMap(entry => entry?.tags ?? []))
    const current = tags.size > 0 ? await this.#tagTokens(tenant, [...tags]) : undefined
    return entries.map((entry, at) => {
      const stamp = { epoch, mark: raws[at]?.slice(0, markLength) ?? '', tags: [] }
      if (entry === undefined || entry.tags.some((tag, i) => current?.get(tag) !== entry.tagTokens[i])) return miss(stamp)
      return { payload: entry.payload, staleAt: entry.staleAt, isCounter: entry.isCounter, stamp }
    })
  }

  async begin (tenant: string, key: string, tags: readonly string[]): Promise<Stamp> {
    const [epoch = '', mark = '', ...tokens] = await this.#redis.run(begin, entryKeys(tenant, key, tags), [token(), tokenLife]) as string[]
    return { epoch, mark, tags: tokens }
  }

  async write (tenant: string, key: string, value: CacheWrite, stamp?: Stamp): Promise<boolean> {
    const { payload, ttl, staleAt, tags } = value
    const expected = stamp === undefined ? [] : [stamp.epoch, stamp.mark, ...stamp.tags]
    const stored = await this.#redis.run(write, entryKeys(tenant, key, tags), [token(), tokenLife, ttl, entryId(), entryHeader(staleAt, tags), payload, ...expected])
    return stored === 1
  }

  async remove (tenant: string, keys: readonly string[]): Promise<number> {
    if (keys.length === 0) return 0
    const removed = `!${token()}${entryId()}`.slice(0, markLength)
    return Number(await this.#redis.run(remove, [epochKey(tenant), ...keys.map(key => redisKey(tenant, 'cache', key))], [removed, removalLife]))
  }

  async increment (tenant: string, key: string, by: number, ttl: number): Promise<number> {
    const sum = await this.#redis.run(increment, entryKeys(tenant, key, []), [token(), tokenLife, ttl, entryId(), by])
    if (sum === null) throw new CacheValueError('the value under this key is not a whole number that can be incremented')
    return Number(sum)
  }

  async invalidateTag (tenant: string, tag: string): Promise<void> {
    await this.#redis.set(redisKey(tenant, 'cache-tag', tag), token(), tokenLife)
  }

  async flush (tenant: string): Promise<void> {
    await this.#redis.set(epochKey(tenant), token(), tokenLife)
  }

  async lock (tenant: string, key: string, ttl: number): Promise<CacheLock | undefined> {
    const keys = [redisKey(tenant, 'lock', key)]
    const own = token()
    if (await this.#redis.run(lock, keys, [own, ttl]) !== 1) return undefined
    return async () => { await this.#redis.run(unlock, keys, [own]) }
  }

  async #tagTokens (tenant: string, tags: readonly string[]): Promise<Map<string, string | null | undefined>> {
    const tokens = await this.#redis.mget(tags.map(tag => redisKey(tenant, 'cache-tag', tag)))
    return new Map(tags.map((tag, at) => [tag, tokens[at]]))
  }
}

function epochKey (tenant: string): string {
  return tenantKey(tenant, 'cache-epoch')
}

function entryKeys (tenant: string, key: string, tags: readonly string[]): string[] {
  return [epochKey(tenant), redisKey(tenant, 'cache', key), ...tags.map(tag => redisKey(tenant, 'cache-tag', tag))]
}

/**
 * Any string as part of a Redis key. Long ones are hashed; so are those with half a surrogate pair,
 * which UTF-8 cannot tell apart. The first letter keeps a hash from being another key's text.
 */
function redisKey (tenant: string, space: KeySpace, key: string): string {
  if (key.length <= longestKey && key.isWellFormed()) return tenantKey(tenant, space, `k${key}`)
  return tenantKey(tenant, space, `h${createHash('sha256').update(Buffer.from(key, 'utf16le')).digest('base64url')}`)
}
