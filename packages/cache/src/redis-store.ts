import { Seal, tenantKey, type KeySpace, type ScopeLogger } from '@fastify-tenancy/core'
import { acquireRedisLock, type TenancyRedis } from '@fastify-tenancy/redis'
import { createHash } from 'node:crypto'

import { entryId, entryVersionLength, noTags, parseEntry, sealedHeader, token, type Entry } from './entry.ts'
import { CacheValueError } from './errors.ts'
import { GatheredReads, type TenantKeys } from './gathered-reads.ts'
import { begin } from './lua/begin.ts'
import { increment } from './lua/increment.ts'
import { removeScript } from './lua/remove.ts'
import { write } from './lua/write.ts'
import { OutageLog } from './outage-log.ts'
import { miss, type CacheLock, type CacheRead, type CacheStore, type CacheWrite,
  type CasToken } from './store.ts'

/** Milliseconds that a token lives at least; writing an entry prolongs it to the entry's own life. */
const tokenLife = 86_400_000
/** Milliseconds that a removal is remembered: loads that take longer may store what was removed. */
const removalLife = 60_000
const longestKey = 512

/** What one command has found of one tenant: the names that it asked for, and what each holds. */
interface FoundEntries {
  readonly tenant: string
  readonly generation: string | undefined
  readonly names: readonly string[]
  readonly found: readonly (string | null)[]
}

/** Values in Redis. Every key of a tenant has its hash tag, so that each method is one command also on a Cluster. */
export class RedisStore implements CacheStore {
  readonly #redis: TenancyRedis
  readonly #outage: OutageLog
  readonly #reads: GatheredReads

  readonly #seal: Seal | undefined

  /** @param secrets sign the values of `set` and `wrap`, the newest first. @default values are not signed */
  constructor (redis: TenancyRedis, log: ScopeLogger, secrets: readonly string[] = []) {
    this.#redis = redis
    this.#seal = secrets.length === 0 ? undefined : new Seal(secrets, 'cached value', redis.namespace)
    // On a Cluster their keys live on different nodes, and one that is down must not cost the others their reads.
    this.#reads = new GatheredReads(wanted => this.#read(wanted), !redis.isCluster)
    this.#outage = new OutageLog(log)
  }

  peek (): undefined {}

  /** `MGET epoch entry… epoch entry…` for all that one turn of the event loop reads; a second one for the tokens of a tenant's tags where there are any. */
  read (tenant: string, key: string): Promise<CacheRead> {
    return this.#reads.read(tenant, key)
  }

  /** The same in a command of its own. */
  async readMany (tenant: string, keys: readonly string[]): Promise<CacheRead[]> {
    return Promise.all(await this.#read([{ tenant, keys }]))
  }

  async begin (tenant: string, key: string, tags: readonly string[]): Promise<CasToken> {
    const [generation = '', entryVersion = '', ...tokens] = await this.#outage.watch(
      this.#redis.run(begin, entryKeys(tenant, key, tags), [token(), tokenLife])
    ) as string[]
    return { generation, entryVersion, tags: tokens }
  }

  async write (tenant: string, key: string, value: CacheWrite, casToken?: CasToken): Promise<boolean> {
    const { payload, ttl, tags } = value
    const header = sealedHeader(this.#seal, redisKey(tenant, 'cache', key), value)
    const expected = casToken === undefined
      ? []
      : [casToken.generation, casToken.entryVersion, ...casToken.tags]
    const stored = await this.#outage.watch(
      this.#redis.run(write, entryKeys(tenant, key, tags), [token(), tokenLife, ttl, entryId(), header,
        payload, ...expected])
    )
    return stored === 1
  }

  async remove (tenant: string, keys: readonly string[]): Promise<number> {
    if (keys.length === 0) return 0
    const removed = `!${token()}${entryId()}`.slice(0, entryVersionLength)
    return Number(
      await this.#outage.watch(
        this.#redis.run(removeScript, [generationKey(tenant), ...keys.map(key =>
          redisKey(tenant, 'cache', key)
        )], [
          removed,
          removalLife
        ])
      )
    )
  }

  async increment (tenant: string, key: string, by: number, ttl: number): Promise<number> {
    const sum = await this.#outage.watch(
      this.#redis.run(increment, entryKeys(tenant, key, []), [token(), tokenLife, ttl, entryId(), by])
    )
    if (sum === null)
      throw new CacheValueError('the value under this key is not a whole number that can be incremented')
    return Number(sum)
  }

  async invalidateTag (tenant: string, tag: string): Promise<void> {
    await this.#outage.watch(this.#redis.set(redisKey(tenant, 'cache-tag', tag), token(), tokenLife))
  }

  async flush (tenant: string): Promise<void> {
    await this.#outage.watch(this.#redis.set(generationKey(tenant), token(), tokenLife))
  }

  lock (tenant: string, key: string, ttl: number): Promise<CacheLock | undefined> {
    return this.#outage.watch(acquireRedisLock(this.#redis, redisKey(tenant, 'lock', key), ttl))
  }

  async #read (wanted: readonly TenantKeys[]): Promise<(CacheRead | Promise<CacheRead>)[]> {
    const names: string[] = []
    for (const { tenant, keys } of wanted) {
      names.push(generationKey(tenant))
      for (const key of keys) names.push(redisKey(tenant, 'cache', key))
    }
    const found = await this.#outage.watch(this.#redis.mget(names))
    const reads: (CacheRead | Promise<CacheRead>)[] = []
    let at = 0
    for (const { tenant, keys } of wanted) {
      const generation = found[at++] ?? undefined
      this.#understand({ tenant, generation, names, found }, at, at += keys.length, reads)
    }
    return reads
  }

  /** What a tenant's entries say, `from` to `to`. None is read under another epoch than its tenant's, so that one tenant's can never pass for another's. */
  #understand (
    { tenant, generation, names, found }: FoundEntries,
    from: number,
    to: number,
    reads: (CacheRead | Promise<CacheRead>)[]
  ): void {
    const tagged: [number, Entry][] = []
    // A plain loop: this runs for every read.
    for (let at = from; at < to; at++) {
      const raw = found[at]
      if (generation === undefined) {
        reads.push(miss(undefined))
        continue
      }
      const casToken = { generation, entryVersion: raw?.slice(0, entryVersionLength) ?? '', tags: noTags }
      const entry = raw == null ? undefined : parseEntry(raw, generation, this.#seal, names[at] as string)
      if (entry !== undefined && entry.tags.length > 0) tagged.push([reads.length, entry])
      reads.push(
        entry === undefined
          ? miss(casToken)
          : { payload: entry.payload, staleAt: entry.staleAt, isCounter: entry.isCounter, casToken }
      )
    }
    if (tagged.length > 0) this.#checkTags(tenant, tagged, reads)
  }

  /** Makes misses of reads whose tags were invalidated; those wait for a second MGET, and the others do not. */
  #checkTags (
    tenant: string,
    tagged: readonly [number, Entry][],
    reads: (CacheRead | Promise<CacheRead>)[]
  ): void {
    const current = this.#tagTokens(tenant, [...new Set(tagged.flatMap(([, { tags }]) => tags))])
    for (const [at, { tags, tagTokens }] of tagged) {
      const read = reads[at] as CacheRead
      reads[at] = current.then(tokens =>
        tags.some((tag, i) => tokens.get(tag) !== tagTokens[i]) ? miss(read.casToken) : read
      )
    }
  }

  async #tagTokens (
    tenant: string,
    tags: readonly string[]
  ): Promise<Map<string, string | null | undefined>> {
    const tokens = await this.#outage.watch(
      this.#redis.mget(tags.map(tag => redisKey(tenant, 'cache-tag', tag)))
    )
    return new Map(tags.map((tag, at) => [tag, tokens[at]]))
  }
}

function generationKey (tenant: string): string {
  return tenantKey(tenant, 'cache-epoch')
}

function entryKeys (tenant: string, key: string, tags: readonly string[]): string[] {
  return [generationKey(tenant), redisKey(tenant, 'cache', key),
    ...tags.map(tag => redisKey(tenant, 'cache-tag', tag))]
}

/**
 * Any string as part of a Redis key. Long ones are hashed; so are those with half a surrogate pair,
 * which UTF-8 cannot tell apart. The first letter keeps a hash from being another key's text.
 */
function redisKey (tenant: string, space: KeySpace, key: string): string {
  if (key.length <= longestKey && key.isWellFormed()) return tenantKey(tenant, space, `k${key}`)
  return tenantKey(
    tenant,
    space,
    `h${createHash('sha256').update(Buffer.from(key, 'utf16le')).digest('base64url')}`
  )
}
