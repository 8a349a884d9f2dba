import { toTenant, RegistryUnavailableError, InternalError, type TenantRecord,
  type TenantRegistry } from '@fastify-tenancy/core'
import pLimit, { type LimitFunction } from 'p-limit'

import { answers, type LookupKey } from './lookup-key.ts'
import { RegistryOutage } from './outage.ts'

/**
 * Look-ups under way at once: of tenants that are known, of names that are not, and of those by clients who asked for too many such;
 * then of hosts that a server asks about before it obtains a certificate, which must not keep requests waiting.
 */
const atOnce = { known: 10, new: 10, late: 1, host: 2, lateHost: 1 }

/** In which line a look-up stands. */
export type Lane = keyof typeof atOnce

/** New names that may wait for a place: more are refused at once, so that a flood of them holds no memory. */
const longestQueue = 1_000

/**
 * The registry, with bounds: made-up names cannot take its connections from tenants that are known,
 * and no look-up takes longer than `deadline`, the wait for a place included.
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
  /** A tenant that was found: whether it can be found again tells an outage from a record that cannot be read. */
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

  /** Whether the registry has just failed, and not for one record alone. */
  get isDown (): boolean {
    return this.#outage.isOn
  }

  /** Whether the registry has not answered since it failed. */
  get isFailing (): boolean {
    return !this.#outage.isOver
  }

  /** Asks for a tenant that was found before, where nothing was heard for so many milliseconds: an outage is seen without traffic. */
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
      // A registry with a case-blind or padded column answers for other names than it was asked for.
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

  // A caller does not wait for a place for ever. The place is kept for as long as the registry may be at work for it,
  // even if the caller has gone: else those who waited long would give it away, and more be under way than there are places.
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

/** As `work` settles; an error after so many milliseconds, from when on `isOver`. */
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
