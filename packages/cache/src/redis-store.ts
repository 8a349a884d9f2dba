import type { ScopeLogger } from '@fastify-tenancy/core'
import { Seal, tenantKey, type KeySpace } from '@fastify-tenancy/core/keys'
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

/**
 * Minimum lifetime of a token in milliseconds. Writing an entry prolongs it to the entry's
 * lifetime.
 */
const tokenLife = 86_400_000
/**
 * Lifetime of a removal mark in milliseconds. A load that takes longer may store a removed value.
 */
const removalLife = 60_000
const longestKey = 512

/** The result of one command for one tenant: the requested names and their contents. */
interface FoundEntries {
  readonly tenant: string
  readonly generation: string | undefined
  readonly names: readonly string[]
  readonly found: readonly (string | null)[]
}

/**
 * Stores values in Redis. Every key of a tenant has its hash tag, so each method is one command
 * also on a Cluster.
 */
export class RedisStore implements CacheStore {
  readonly #redis: TenancyRedis
  readonly #outage: OutageLog
  readonly #reads: GatheredReads

  readonly #seal: Seal | undefined

  /**
   * @param secrets sign the values of `set` and `wrap`, the newest first. @default values are not
   * signed
   */
  constructor (redis: TenancyRedis, log: ScopeLogger, secrets: readonly string[] = []) {
    this.#redis = redis
    this.#seal = secrets.length === 0 ? undefined : new Seal(secrets, 'cached value', redis.namespace)
    // On a Cluster, tenants do not share a command. Their keys are on different nodes, and a failed
    // node must not fail the reads of other tenants.
    this.#reads = new GatheredReads(wanted => this.#read(wanted), !redis.isCluster)
    this.#outage = new OutageLog(log)
  }

  peek (): undefined {}

  /**
   * Reads with one `MGET generation entry… generation entry…` for all reads of an event-loop tick.
   * A second MGET reads the tokens of tags, if there are any.
   */
  read (tenant: string, key: string): Promise<CacheRead> {
    return this.#reads.read(tenant, key)
  }

  /** Reads in a separate command. */
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

  /**
   * Parses the entries `from` to `to` of a tenant. An entry is valid only with its tenant's
   * generation token, so one tenant's entry never counts as another's.
   */
  #understand (
    { tenant, generation, names, found }: FoundEntries,
    from: number,
    to: number,
    reads: (CacheRead | Promise<CacheRead>)[]
  ): void {
    const tagged: [number, Entry][] = []
    // A plain loop, because this runs for every read.
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

  /** Turns reads with invalidated tags into misses. Only these reads wait for the second MGET. */
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
 * Returns any string as part of a Redis key. A string that is long or not well-formed (half a
 * surrogate pair) is hashed. The first letter distinguishes a hash from a plain key.
 */
function redisKey (tenant: string, space: KeySpace, key: string): string {
  if (key.length <= longestKey && key.isWellFormed()) return tenantKey(tenant, space, `k${key}`)
  return tenantKey(
    tenant,
    space,
    `h${createHash('sha256').update(Buffer.from(key, 'utf16le')).digest('base64url')}`
  )
}
