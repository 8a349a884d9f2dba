import type { TenantChange, TenantRecord } from '@fastify-tenancy/core'

import type { Known, LocalLookupTier } from './local-tier.ts'
import { isPlausible, localKey, type LookupKey } from './lookup-key.ts'
import type { LookupLocks } from './lookup-locks.ts'
import { MissBudget } from './miss-budget.ts'
import type { NameIndex } from './name-index.ts'
import type { RedisAnswer, RedisTier } from './redis-tier.ts'
import type { Lane, RegistryTier } from './registry-tier.ts'

/** The tiers in the order in which they are asked. */
export interface Tiers {
  readonly local: LocalLookupTier
  /** All names there are; undefined where none is kept. */
  readonly index: NameIndex | undefined
  readonly redis: RedisTier | undefined
  /** Whose turn it is to ask the registry; undefined where every process asks for itself. */
  readonly lookupLocks: LookupLocks | undefined
  readonly registry: RegistryTier
  /** Of look-ups that find nobody; undefined where they are not counted. */
  readonly budget: MissBudget | undefined
}

/** In which lines a look-up stands: at first, and once its budget is spent. */
interface Lines {
  readonly first: Lane
  readonly late: Lane
}

const clients: Lines = { first: 'new', late: 'late' }
const hosts: Lines = { first: 'host', late: 'lateHost' }

/** Look-ups of hosts that turn out to be nobody's that a server may cause in a minute. */
const hostMisses = 300

/** Look-ups of clients who have spent their budget that may wait at once. */
const mostLate = 100

/** Finds tenants: in the process, then in Redis, then in the registry, one look-up per name at a time. */
export class TenantLookup {
  readonly #tiers: Tiers
  readonly #onChange: (id?: string) => void
  readonly #flights = new Map<string, Promise<TenantRecord | undefined>>()
  /** Counts changes. A look-up that began before a change must not be remembered after it. */
  #generation = 0
  readonly #late: Record<Lane, number> = { known: 0, new: 0, late: 0, host: 0, lateHost: 0 }
  readonly #hostBudget: MissBudget

  /** @param onChange told of each change that is heard of, by the tenant's id; of none when some may have been missed. */
  constructor (tiers: Tiers, onChange: (id?: string) => void, now: () => number = () => performance.now()) {
    this.#tiers = tiers
    this.#onChange = onChange
    this.#hostBudget = new MissBudget(hostMisses, now)
  }

  /** What the process knows without asking anybody; `undefined` when it has to ask. */
  peek (lookup: LookupKey): Known {
    const { local, index } = this.#tiers
    const known = local.get(localKey(lookup), this.#renew)
    return known === undefined && index?.lacks(lookup) ? null : known
  }

  /**
   * The tenant asked for.
   *
   * @param ip the address of a client whose word alone the name is. @default somebody who is trusted asks
   * @throws FST_TENANCY_REGISTRY_UNAVAILABLE when the registry cannot be reached and nothing usable is remembered.
   * @throws FST_TENANCY_RATE_LIMITED when this address has had too many look-ups that found nobody, too many such wait already,
   * and Redis does not know the tenant.
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
   * {@link find} for a host that a server asks about before any request: in lines of its own and on a budget of its own, so that
   * made-up hosts keep no request waiting.
   *
   * @throws FST_TENANCY_REGISTRY_UNAVAILABLE, and FST_TENANCY_RATE_LIMITED when too many hosts were nobody's.
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
    // Who joins a look-up that is under way, or asks for a tenant that was there, costs the registry nothing new.
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

  /** Has every tenant asked for again: changes may have been missed. */
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

  /** For clients who have spent their budget: one after another, so that a tenant is found yet, and as few wait as hurt nobody. */
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
    // Without Redis a look-up costs more and does the same.
    const shared = await redis?.get(lookup).catch(() => undefined)
    if (shared === undefined || shared.isFresh || lookupLocks === undefined)
      return this.#answer(key, lookup, shared, isCurrent, queue)
    const turn = await lookupLocks.wait(lookup, shared)
    return this.#answer(key, lookup, turn.shared, isCurrent, queue, turn.end)
  }

  /** What Redis knows, for those who may not ask the registry. */
  async #findShared (lookup: LookupKey): Promise<TenantRecord | undefined> {
    const isCurrent = this.#watch()
    const shared = await this.#tiers.redis?.get(lookup).catch(() => undefined)
    return shared?.isFresh ? this.#answer(localKey(lookup), lookup, shared, isCurrent, 'late') : undefined
  }

  /** Tells later whether no change was heard of in between. */
  #watch (): () => boolean {
    const generation = this.#generation
    return () => generation === this.#generation
  }

  /** The answer of Redis where that is fresh, or else of the registry, remembered unless a change overtook it. */
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
      // Those who wait take the answer from Redis: it has to be there when their turn comes.
      if (releaseLock !== undefined) void Promise.resolve(stored).then(releaseLock).catch(() => {})
    }
  }
}

/** The name of a look-up that others may join. Nobody else is to stand in the line of those who are late, or of a server's questions. */
function flightOf (key: string, queue: Lane): string {
  return queue === 'new' || queue === 'known' ? key : `${queue}~${key}`
}

/** Clocks of processes may differ by more than they should: of one tenant's records the version tells which is older. */
function withoutOlder (
  found: RedisAnswer | undefined,
  known: TenantRecord | undefined
): RedisAnswer | undefined {
  const isOlder = found?.tenant !== undefined && known?.id === found.tenant.id &&
    found.tenant.version < known.version
  return found === undefined || !isOlder ? found : { tenant: undefined, isFresh: false, seen: found.seen }
}
