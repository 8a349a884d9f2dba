import type { TenantChange, TenantRecord } from '@fastify-tenancy/core'

import type { Known, LocalLookupTier } from './local-tier.ts'
import { isPlausible, localKey, type LookupKey } from './lookup-key.ts'
import type { LookupLocks } from './lookup-locks.ts'
import { MissBudget } from './miss-budget.ts'
import type { NameIndex } from './name-index.ts'
import type { RedisAnswer, RedisTier } from './redis-tier.ts'
import type { Lane, RegistryTier } from './registry-tier.ts'

/** The tiers in the order in which they are asked. */
interface Tiers {
  readonly local: LocalLookupTier
  /** All existing names; undefined if no index is kept. */
  readonly index: NameIndex | undefined
  readonly redis: RedisTier | undefined
  /** Locks for asking the registry; undefined if every process asks on its own. */
  readonly lookupLocks: LookupLocks | undefined
  readonly registry: RegistryTier
  /** Budget of look-ups that find no tenant; undefined if they are not counted. */
  readonly budget: MissBudget | undefined
}

/** The queues of a look-up: the first one, and the one used once its budget is spent. */
interface Lines {
  readonly first: Lane
  readonly late: Lane
}

const clients: Lines = { first: 'new', late: 'late' }
const hosts: Lines = { first: 'host', late: 'lateHost' }

/** Look-ups of unknown hosts per minute that a server may cause. */
const hostMisses = 300

/** Look-ups that may wait at the same time for clients whose budget is spent. */
const mostLate = 100

/**
 * Finds tenants in the process, then in Redis, then in the registry. Runs one look-up per name at a
 * time.
 */
export class TenantLookup {
  readonly #tiers: Tiers
  readonly #onChange: (id?: string) => void
  readonly #flights = new Map<string, Promise<TenantRecord | undefined>>()
  /** Counts changes. A look-up that began before a change must not be remembered after it. */
  #generation = 0
  readonly #late: Record<Lane, number> = { known: 0, new: 0, late: 0, host: 0, lateHost: 0 }
  readonly #hostBudget: MissBudget

  /**
   * @param onChange called for each received change with the tenant's id, and without an id when
   * changes may have been missed
   */
  constructor (tiers: Tiers, onChange: (id?: string) => void, now: () => number = () => performance.now()) {
    this.#tiers = tiers
    this.#onChange = onChange
    this.#hostBudget = new MissBudget(hostMisses, now)
  }

  /** Returns what the process knows without I/O, or `undefined` if another tier must be asked. */
  peek (lookup: LookupKey): Known {
    const { local, index } = this.#tiers
    const known = local.get(localKey(lookup), this.#renew)
    return known === undefined && index?.lacks(lookup) ? null : known
  }

  /**
   * Returns the tenant of a look-up key.
   *
   * @param ip the address of the client that supplied the name. @default the name comes from a
   * trusted caller
   * @throws FST_TENANCY_REGISTRY_UNAVAILABLE when the registry cannot be reached and no usable
   * entry is remembered.
   * @throws FST_TENANCY_RATE_LIMITED when this address has spent its budget of unknown names, too
   * many such look-ups wait, and Redis does not have the tenant.
   */
  async find (lookup: LookupKey, ip?: string): Promise<TenantRecord | undefined> {
    if (!isPlausible(lookup)) return undefined
    const known = this.peek(lookup)
    if (known !== undefined) return known ?? undefined
    const { budget } = this.#tiers
    if (budget === undefined || ip === undefined) return this.#fly(localKey(lookup), lookup)
    return this.#findOnBudget(lookup, clients, budget, ip)
  }

  /**
   * Like {@link find}, for a host that a server asks about before any request. It uses separate
   * queues and a separate budget, so that made-up hosts delay no request.
   *
   * @throws FST_TENANCY_REGISTRY_UNAVAILABLE, and FST_TENANCY_RATE_LIMITED when too many hosts were
   * unknown.
   */
  async findHost (lookup: LookupKey): Promise<TenantRecord | undefined> {
    if (!isPlausible(lookup)) return undefined
    const known = this.peek(lookup)
    return known === undefined
      ? this.#findOnBudget(lookup, hosts, this.#hostBudget, undefined)
      : known ?? undefined
  }

  async #findOnBudget (
    lookup: LookupKey,
    { first, late }: Lines,
    budget: MissBudget,
    ip: string | undefined
  ): Promise<TenantRecord | undefined> {
    const key = localKey(lookup)
    // A caller that joins a running look-up, or asks for a remembered tenant, adds no load to the
    // registry by made-up names.
    if (this.#flights.has(flightOf(key, first)) || this.#tiers.local.getStale(key) !== undefined)
      return this.#fly(key, lookup, first)
    const giveBack = budget.spend(ip)
    if (giveBack === undefined) return this.#findLate(key, lookup, late, () => budget.refusal(ip))
    let isMiss = false
    try {
      const tenant = await this.#fly(key, lookup, first)
      isMiss = tenant === undefined
      return tenant
    } finally {
      if (!isMiss) giveBack()
    }
  }

  /** Forgets a tenant in this process. */
  forget (change: TenantChange): void {
    this.#overtake()
    this.#tiers.local.forget(change)
    this.#tiers.redis?.receive(change)
    this.#tiers.index?.add(change)
    this.#onChange(change.id)
  }

  /** Marks every tenant as expired, because changes may have been missed. */
  invalidateAll (): void {
    this.#overtake()
    this.#tiers.local.invalidateAll()
    this.#tiers.redis?.invalidateAll()
    this.#tiers.index?.invalidateAll()
    this.#onChange()
  }

  readonly #renew = (lookup: LookupKey): void => {
    this.#fly(localKey(lookup), lookup).catch(() => {})
  }

  #overtake (): void {
    this.#generation++
    this.#flights.clear()
  }

  /**
   * Serves clients whose budget is spent, one after another: tenants are still found, and a bounded
   * number of requests waits.
   */
  async #findLate (
    key: string,
    lookup: LookupKey,
    queue: Lane,
    refusal: () => Error
  ): Promise<TenantRecord | undefined> {
    if (this.#late[queue] >= mostLate) return await this.#findShared(lookup) ?? Promise.reject(refusal())
    this.#late[queue]++
    try {
      return await this.#fly(key, lookup, queue)
    } finally {
      this.#late[queue]--
    }
  }

  #fly (key: string, lookup: LookupKey, queue: Lane = 'new'): Promise<TenantRecord | undefined> {
    const name = flightOf(key, queue)
    const underWay = this.#flights.get(name)
    if (underWay !== undefined) return underWay
    const flight = this.#load(key, lookup, queue).finally(() => {
      if (this.#flights.get(name) === flight) this.#flights.delete(name)
    })
    this.#flights.set(name, flight)
    return flight
  }

  async #load (key: string, lookup: LookupKey, queue: Lane): Promise<TenantRecord | undefined> {
    const { redis, lookupLocks } = this.#tiers
    const isCurrent = this.#watch()
    // Without Redis the look-up is slower, but its result does not change.
    const shared = await redis?.get(lookup).catch(() => undefined)
    if (shared === undefined || shared.isFresh || lookupLocks === undefined)
      return this.#answer(key, lookup, shared, isCurrent, queue)
    const turn = await lookupLocks.wait(lookup, shared)
    return this.#answer(key, lookup, turn.shared, isCurrent, queue, turn.end)
  }

  /** Returns the tenant that Redis holds, for a caller that must not ask the registry. */
  async #findShared (lookup: LookupKey): Promise<TenantRecord | undefined> {
    const isCurrent = this.#watch()
    const shared = await this.#tiers.redis?.get(lookup).catch(() => undefined)
    return shared?.isFresh ? this.#answer(localKey(lookup), lookup, shared, isCurrent, 'late') : undefined
  }

  /** Returns a function that tells whether no change was received since this call. */
  #watch (): () => boolean {
    const generation = this.#generation
    return () => generation === this.#generation
  }

  /**
   * Returns the answer of Redis if it is fresh, else the answer of the registry. Remembers it
   * unless a change arrived meanwhile.
   */
  async #answer (
    key: string,
    lookup: LookupKey,
    found: RedisAnswer | undefined,
    isCurrent: () => boolean,
    queue: Lane,
    releaseLock?: () => Promise<void>
  ): Promise<TenantRecord | undefined> {
    const { local, redis, registry } = this.#tiers
    const shared = withoutOlder(found, local.peek(key))
    if (shared?.isFresh) {
      if (isCurrent()) local.set(lookup, shared.tenant as TenantRecord)
      return shared.tenant
    }
    const stale = (): TenantRecord | undefined =>
      local.getStale(key) ?? (isCurrent() ? shared?.tenant : undefined)
    const isKnown = stale() !== undefined
    const readAt = Date.now()
    let stored: Promise<void> | undefined
    try {
      if (isKnown && registry.isDown) return stale()
      const tenant = await registry.find(lookup, isKnown ? 'known' : queue)
      if (!isCurrent()) return tenant
      if (tenant === undefined) {
        local.setUnknown(key)
      } else {
        local.set(lookup, tenant)
        stored = shared && redis?.set(lookup, tenant, shared.seen, readAt).catch(() => {})
      }
      return tenant
    } catch (error) {
      const usable = stale()
      if (usable === undefined) throw error
      return usable
    } finally {
      // Waiting processes take the answer from Redis, so it must be stored before the lock is
      // released.
      if (releaseLock !== undefined) void Promise.resolve(stored).then(releaseLock).catch(() => {})
    }
  }
}

/**
 * Returns the name of a look-up that others may join. Other requests must not join look-ups in the
 * queues for throttled clients or for hosts.
 */
function flightOf (key: string, queue: Lane): string {
  return queue === 'new' || queue === 'known' ? key : `${queue}~${key}`
}

/**
 * Clocks of processes may differ by more than the allowed skew. The version tells which record of a
 * tenant is older.
 */
function withoutOlder (
  found: RedisAnswer | undefined,
  known: TenantRecord | undefined
): RedisAnswer | undefined {
  const isOlder = found?.tenant !== undefined && known?.id === found.tenant.id &&
    found.tenant.version < known.version
  return found === undefined || !isOlder ? found : { tenant: undefined, isFresh: false, seen: found.seen }
}
