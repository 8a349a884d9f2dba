import { toTenant, tenantStatuses, isolations, type TenantChange,
  type TenantRecord } from '@fastify-tenancy/core'
import { lookupKey, Seal } from '@fastify-tenancy/core/keys'
import { defineScript, isMark, markChange, type TenancyRedis } from '@fastify-tenancy/redis'
import * as v from 'valibot'

import { answers, isPlausible, type LookupKey } from './lookup-key.ts'
import type { ResolvedResolverCache } from './options.ts'
import { ReceivedChanges } from './received-changes.ts'

/**
 * Increased when the format of a record changes. A process of another version drops the record and
 * asks the registry.
 */
const version = 2

/** Allowed difference between the clocks of processes, in milliseconds. */
const skew = 2_000

const date = v.pipe(v.string(), v.isoTimestamp(), v.transform(text => new Date(text)))

const recordSchema = v.strictObject({
  v: v.literal(version),
  kind: v.picklist(['slug', 'domain', 'id']),
  value: v.string(),
  /**
   * When the registry was asked, and until when the record is fresh: milliseconds of the Unix
   * clock.
   */
  readAt: v.number(),
  freshUntil: v.number(),
  tenant: v.strictObject({
    id: v.string(),
    slug: v.string(),
    name: v.string(),
    status: v.picklist(tenantStatuses),
    plan: v.string(),
    isolation: v.picklist(isolations),
    placement: v.strictObject({
      shard: v.string(),
      schema: v.exactOptional(v.string()),
      database: v.exactOptional(v.string())
    }),
    domains: v.array(v.string()),
    settings: v.record(v.string(), v.unknown()),
    createdAt: date,
    updatedAt: date,
    version: v.pipe(v.number(), v.safeInteger())
  })
})

// Stores a record only if the key still holds the value read before the look-up began. A change in
// between left its mark there, so a slow reader cannot restore outdated data.
const store = defineScript(`
local current = redis.call('GET', KEYS[1]) or ''
if current ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`)

/** The content of Redis for a look-up key. */
export interface RedisAnswer {
  readonly tenant: TenantRecord | undefined
  readonly isFresh: boolean
  /** The key's value, to be passed to {@link RedisTier.set}. */
  readonly seen: string
}

/**
 * The tier that all processes share in Redis. `tenancy:slug:{acme}` holds a checked record of the
 * tenant, signed if a secret is set. A record that is forged, expired or of another key is a miss.
 *
 * Unknown names are never written, because any client can make them up. Freshness uses the wall
 * clock, so the clocks of processes should agree within seconds.
 */
export class RedisTier {
  readonly #redis: TenancyRedis
  readonly #options: ResolvedResolverCache
  /**
   * Records read from the registry before this time are not fresh, because the registry may have
   * changed without a message.
   */
  #trustedFrom = 0
  readonly #received: ReceivedChanges
  /** Number of invalid records that were dropped. */
  dropped = 0

  readonly #seal: Seal | undefined

  /** @param secrets sign the records, the newest first. @default records are not signed */
  constructor (redis: TenancyRedis, options: ResolvedResolverCache, secrets: readonly string[] = []) {
    this.#redis = redis
    this.#options = options
    this.#received = new ReceivedChanges(options.max, lifeOf(options))
    this.#seal = secrets.length === 0 ? undefined : new Seal(secrets, 'resolver record', redis.namespace)
  }

  /** Reads a record: `GET tenancy:<kind>:{<value>}`. */
  async get (lookup: LookupKey): Promise<RedisAnswer> {
    const key = keyOf(lookup)
    const seen = await this.#redis.get(key) ?? ''
    if (seen === '' || isMark(seen)) return { tenant: undefined, isFresh: false, seen }
    const text = this.#seal === undefined ? seen : this.#seal.unwrap(key, seen)
    const record = text === undefined ? undefined : read(text, lookup)
    if (record === undefined) this.dropped++
    // The record is neither fresh nor usable in an outage, because this process has received a
    // change since.
    if (record === undefined || this.#received.isAfter(record.readAt, lookup))
      return { tenant: undefined, isFresh: false, seen }
    return {
      tenant: record.tenant,
      isFresh: record.freshUntil > Date.now() && record.readAt >= this.#trustedFrom,
      seen
    }
  }

  /**
   * Stores a record with an expiry (`SET … PX`), unless the key has changed since `seen` was read.
   *
   * @param readAt when the registry was asked.
   */
  async set (lookup: LookupKey, tenant: TenantRecord, seen: string, readAt: number): Promise<void> {
    const { ttl, jitter } = this.#options
    const now = Date.now()
    const freshUntil = now + ttl * (1 - jitter * Math.random())
    const life = Math.ceil(lifeOf(this.#options))
    const key = keyOf(lookup)
    const text = JSON.stringify({
      v: version,
      kind: lookup.kind,
      value: lookup.value,
      readAt,
      freshUntil,
      tenant
    })
    await this.#redis.run(store, [key], [seen, this.#seal?.wrap(key, text, now + life) ?? text, life])
  }

  /**
   * Marks every record as not fresh, because the registry may have changed without a message.
   * Records stay usable in an outage.
   */
  invalidateAll (): void {
    this.#trustedFrom = Date.now() + skew
  }

  /**
   * Rejects records of a tenant that are older than a change which this process has just received.
   */
  receive (change: TenantChange): void {
    this.#received.add(change)
  }

  /** Puts a mark in the place of each record of a tenant: `SET … PX 60000`. */
  async forget (change: TenantChange): Promise<void> {
    // A name that no tenant can have has no key.
    if (!isName('id')(change.id)) return
    await markChange(this.#redis, {
      id: change.id,
      slugs: change.slugs.filter(isName('slug')),
      domains: change.domains.filter(isName('domain'))
    })
  }
}

function isName (kind: LookupKey['kind']): (value: string) => boolean {
  return value => isPlausible({ kind, value })
}

function lifeOf ({ ttl, staleIfError }: ResolvedResolverCache): number {
  return Math.max(ttl, staleIfError)
}

function keyOf ({ kind, value }: LookupKey): string {
  return lookupKey(kind, value)
}

function read (
  text: string,
  lookup: LookupKey
): { tenant: TenantRecord; readAt: number; freshUntil: number } | undefined {
  try {
    const { output, success } = v.safeParse(recordSchema, JSON.parse(text))
    if (!success || output.kind !== lookup.kind || output.value !== lookup.value) return undefined
    const tenant = toTenant(output.tenant)
    return answers(tenant, lookup)
      ? { tenant, readAt: output.readAt, freshUntil: output.freshUntil }
      : undefined
  } catch {
    return undefined
  }
}
