import { toTenant, RegistryUnavailableError, type TenantRecord,
  type TenantRegistry } from '@fastify-tenancy/core'
import { InternalError } from '@fastify-tenancy/core/errors'
import pLimit, { type LimitFunction } from 'p-limit'

import { answers, type LookupKey } from './lookup-key.ts'
import { RegistryOutage } from './outage.ts'

/**
 * Concurrent look-ups per queue: of remembered tenants, of new names, and of throttled clients. The
 * host queues serve a server that asks before it obtains a certificate, so that such look-ups delay
 * no request.
 */
const atOnce = { known: 10, new: 10, late: 1, host: 2, lateHost: 1 }

/** The queue of a look-up. */
export type Lane = keyof typeof atOnce

/**
 * Look-ups that may wait in a queue. Further ones are refused at once, so that a flood of names
 * holds no memory.
 */
const longestQueue = 1_000

/**
 * Reads the registry within bounds. Made-up names cannot take the connections from remembered
 * tenants, and no look-up takes longer than `deadline`, including the wait in the queue.
 */
export class RegistryTier {
  readonly #registry: TenantRegistry
  readonly #now: () => number
  readonly #deadline: number
  readonly #queues: Readonly<Record<Lane, LimitFunction>> = {
    known: pLimit(atOnce.known),
    new: pLimit(atOnce.new),
    late: pLimit(atOnce.late),
    host: pLimit(atOnce.host),
    lateHost: pLimit(atOnce.lateHost)
  }
  readonly #outage: RegistryOutage
  /**
   * A tenant that was found before. Whether it can be read again distinguishes an outage from one
   * unreadable record.
   */
  #found: LookupKey | undefined
  reads = 0
  failures = 0

  constructor (registry: TenantRegistry, now: () => number, deadline = 2_000) {
    this.#registry = registry
    this.#now = now
    this.#deadline = deadline
    this.#outage = new RegistryOutage(now, async () => {
      const found = this.#found
      return found === undefined || this.#readIn(this.#queues.known, found).then(() => false, () => true)
    })
  }

  /** Whether the registry has just failed, and not for one record only. */
  get isDown (): boolean {
    return this.#outage.isOn
  }

  /** Whether the registry has not answered since it failed. */
  get isFailing (): boolean {
    return !this.#outage.isOver
  }

  /**
   * Asks for a tenant that was found before, if the registry neither answered nor failed for so
   * many milliseconds. So an outage is detected without traffic.
   */
  probe (silence: number): void {
    const isQuiet = this.#now() - this.#outage.heardAt >= silence
    if (this.#found !== undefined && (isQuiet || this.isFailing))
      this.find(this.#found, 'known').catch(() => {})
  }

  /** @throws FST_TENANCY_REGISTRY_UNAVAILABLE */
  async find (lookup: LookupKey, queueName: Lane): Promise<TenantRecord | undefined> {
    const queue = this.#queues[queueName]
    if (queue.pendingCount >= longestQueue) throw new RegistryUnavailableError()
    try {
      const found = await this.#readIn(queue, lookup)
      this.#outage.end()
      if (found === undefined) return undefined
      // A registry with a case-insensitive or padded column returns a tenant whose name differs
      // from the requested one.
      const tenant = toTenant(found)
      if (!answers(tenant, lookup)) return undefined
      this.#found = lookup
      return tenant
    } catch (error) {
      this.failures++
      this.#outage.suspect()
      throw new RegistryUnavailableError(undefined, { cause: error })
    }
  }

  // The caller waits no longer than the deadline. The queue slot is held while the registry may
  // still be working, even if the caller has gone. Otherwise more look-ups would run at once than
  // the queue allows.
  #readIn (queue: LimitFunction, lookup: LookupKey): Promise<TenantRecord | undefined> {
    return within(this.#deadline, isOver =>
      queue(async () => {
        if (isOver()) return undefined
        this.reads++
        return within(this.#deadline, () => this.#ask(lookup))
      }))
  }

  async #ask ({ kind, value }: LookupKey): Promise<TenantRecord | undefined> {
    if (kind === 'slug') return this.#registry.findBySlug(value)
    return kind === 'domain' ? this.#registry.findByDomain(value) : this.#registry.findById(value)
  }
}

/**
 * Settles as `work` does, or rejects after so many milliseconds. From then on `isOver()` returns
 * true.
 */
async function within<T> (milliseconds: number, work: (isOver: () => boolean) => Promise<T>): Promise<T> {
  let isOver = false
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => {
    isOver = true
    reject(new InternalError(`the registry gave no answer within ${milliseconds} ms`))
  }, milliseconds)
  try {
    return await Promise.race([late, work(() => isOver)])
  } finally {
    clearTimeout(timer)
  }
}
