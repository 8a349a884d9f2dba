import type { TenantChange, TenantRegistry } from '@fastify-tenancy/core'
import { invalidationChannel } from '@fastify-tenancy/core/keys'
import { Throttle } from '@fastify-tenancy/core/throttle'
import { publishChange, type TenancyRedis } from '@fastify-tenancy/redis'
import * as v from 'valibot'

import type { TenantLookup } from './lookup.ts'
import type { RedisTier } from './redis-tier.ts'

const message: v.GenericSchema<unknown, TenantChange> = v.object({
  id: v.string(),
  slugs: v.array(v.string()),
  domains: v.array(v.string())
})

/** Changes whose marks are written later, and the delay of each retry in milliseconds. */
const mostUnmarked = 1_000
const retryAfter = 1_000

/**
 * How often an unreadable message invalidates all look-ups: any client of Redis can publish such a
 * message.
 */
const senselessRate = { burst: 5, everyMs: 10_000 }

/**
 * Announces this process's changes to all processes, and applies the changes that other processes
 * announce.
 */
export class Announcer {
  readonly #lookup: TenantLookup
  readonly #registry: TenantRegistry
  readonly #redis: TenancyRedis | undefined
  readonly #shared: RedisTier | undefined
  readonly #stops: (() => Promise<void>)[] = []
  /**
   * Changes whose marks could not be written, by tenant id. Without the marks, a process that
   * starts later would trust the older records.
   */
  readonly #unmarked = new Map<string, TenantChange>()
  #retry: NodeJS.Timeout | undefined
  #isStopped = false
  #isHearing: (() => boolean) | undefined
  readonly #senseless: Throttle

  constructor (
    lookup: TenantLookup,
    registry: TenantRegistry,
    redis: TenancyRedis | undefined,
    shared: RedisTier | undefined
  ) {
    this.#lookup = lookup
    this.#registry = registry
    this.#redis = redis
    this.#shared = shared
    this.#senseless = new Throttle(() => {
      lookup.invalidateAll()
    }, senselessRate)
  }

  async start (): Promise<void> {
    if (this.#redis !== undefined) {
      this.#stops.push(
        await this.#redis.subscribe(invalidationChannel, text => {
          this.#hear(text)
        }, () => {
          this.#lookup.invalidateAll()
        })
      )
    }
    if (this.#registry.watch !== undefined) {
      const end = await this.#registry.watch(change => {
        this.notice(change)
      })
      this.#isHearing = end.isHearing
      this.#stops.push(end)
    }
  }

  /** Whether the registry currently notifies this process of every write. */
  get isHearing (): boolean {
    return this.#isHearing?.() ?? false
  }

  async stop (): Promise<void> {
    clearTimeout(this.#retry)
    this.#unmarked.clear()
    this.#isStopped = true
    this.#senseless.stop()
    await Promise.allSettled(this.#stops.splice(0).map(stop => stop()))
  }

  /**
   * Forgets the tenant in this process, then in Redis (`SET` of a mark over each record), then in
   * all processes (`PUBLISH tenancy:invalidate`).
   *
   * @throws FST_TENANCY_REDIS_UNAVAILABLE when the other processes could not be notified.
   */
  async announce (change: TenantChange): Promise<void> {
    this.#lookup.forget(change)
    if (this.#shared === undefined) return
    await this.#shared.forget(change)
    this.#lookup.forget(change) // again, for records read from Redis before the marks were written
    if (this.#redis !== undefined) await publishChange(this.#redis, change)
  }

  #hear (text: string): void {
    const change = parse(text)
    if (change === undefined) this.#senseless.call()
    else this.#lookup.forget(change)
  }

  /**
   * Applies a write that bypassed the suite. The registry notifies every process of it, and each
   * process clears Redis too, which is idempotent.
   */
  notice (change: TenantChange | 'all'): void {
    if (change === 'all') {
      this.#lookup.invalidateAll()
      return
    }
    this.#lookup.forget(change)
    this.#mark(change)
  }

  #mark (change: TenantChange): void {
    this.#shared?.forget(change).catch(() => {
      const earlier = this.#unmarked.get(change.id)
      if (this.#isStopped || (earlier === undefined && this.#unmarked.size >= mostUnmarked)) return
      this.#unmarked.set(change.id, earlier === undefined ? change : merged(earlier, change))
      this.#retry ??= setTimeout(() => {
        this.#markAgain()
      }, retryAfter).unref()
    })
  }

  #markAgain (): void {
    this.#retry = undefined
    const changes = [...this.#unmarked.values()]
    this.#unmarked.clear()
    for (const change of changes) this.#mark(change)
  }
}

function merged (one: TenantChange, other: TenantChange): TenantChange {
  return {
    id: one.id,
    slugs: [...new Set([...one.slugs, ...other.slugs])],
    domains: [...new Set([...one.domains, ...other.domains])]
  }
}

function parse (text: string): TenantChange | undefined {
  try {
    const { output, success } = v.safeParse(message, JSON.parse(text))
    return success ? output : undefined
  } catch {
    return undefined
  }
}
