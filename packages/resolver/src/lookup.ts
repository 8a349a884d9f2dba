import type { TenantChange, TenantRecord } from '@fastify-tenancy/core'

import type { Known, LocalTier } from './local-tier.ts'
import { MissBudget } from './miss-budget.ts'
import type { NameIndex } from './name-index.ts'
import { isPlausible, localKey, type Question } from './question.ts'
import type { RedisAnswer, RedisTier } from './redis-tier.ts'
import type { Lane, RegistryTier } from './registry-tier.ts'
import type { RegistryTurns } from './registry-turns.ts'

/** The tiers in the order in which they are asked. */
export interface Tiers {
  readonly local: LocalTier
  /** All names there are; undefined where none is kept. */
  readonly index: NameIndex | undefined
  readonly redis: RedisTier | undefined
  /** Whose turn it is to ask the registry; undefined where every process asks for itself. */
  readonly turns: RegistryTurns | undefined
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
  peek (question: Question): Known {
    const { local, index } = this.#tiers
    const known = local.get(localKey(question), this.#renew)
    return known === undefined && index?.lacks(question) ? null : known
  }

  /**
   * The tenant asked for.
   *
   * @param ip the address of a client whose word alone the name is. @default somebody who is trusted asks
   * @throws FST_TENANCY_REGISTRY_UNAVAILABLE when the registry cannot be reached and nothing usable is remembered.
   * @throws FST_TENANCY_RATE_LIMITED when this address has had too many look-ups that found nobody, too many such wait already,
   * and Redis does not know the tenant.
   */
  async find (question: Question, ip?: string): Promise<TenantRecord | undefined> {
    if (!isPlausible(question)) return undefined
    const known = this.peek(question)
    if (known !== undefined) return known ?? undefined
    const { budget } = this.#tiers
    if (budget === undefined || ip === undefined) return this.#fly(localKey(question), question)
    return this.#findOnBudget(question, clients, budget, ip)
  }

  /**
   * {@link find} for a host that a server asks about before any request: in lines of its own and on a budget of its own, so that
   * made-up hosts keep no request waiting.
   *
   * @throws FST_TENANCY_REGISTRY_UNAVAILABLE, and FST_TENANCY_RATE_LIMITED when too many hosts were nobody's.
   */
  async findHost (question: Question): Promise<TenantRecord | undefined> {
    if (!isPlausible(question)) return undefined
    const known = this.peek(question)
    return known === undefined
      ? this.#findOnBudget(question, hosts, this.#hostBudget, undefined)
      : known ?? undefined
  }

  async #findOnBudget (
    question: Question,
    { first, late }: Lines,
    budget: MissBudget,
    ip: string | undefined
  ): Promise<TenantRecord | undefined> {
    const key = localKey(question)
    // Who joins a look-up that is under way, or asks for a tenant that was there, costs the registry nothing new.
    if (this.#flights.has(flightOf(key, first)) || this.#tiers.local.getStale(key) !== undefined)
      return this.#fly(key, question, first)
    const giveBack = budget.spend(ip)
    if (giveBack === undefined) return this.#findLate(key, question, late, () => budget.refusal(ip))
    let isMiss = false
    try {
      const tenant = await this.#fly(key, question, first)
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
  distrust (): void {
    this.#overtake()
    this.#tiers.local.distrust()
    this.#tiers.redis?.distrust()
    this.#tiers.index?.distrust()
    this.#onChange()
  }

  readonly #renew = (question: Question): void => {
    this.#fly(localKey(question), question).catch(() => {})
  }

  #overtake (): void {
    this.#generation++
    this.#flights.clear()
  }

  /** For clients who have spent their budget: one after another, so that a tenant is found yet, and as few wait as hurt nobody. */
  async #findLate (
    key: string,
    question: Question,
    lane: Lane,
    refusal: () => Error
  ): Promise<TenantRecord | undefined> {
    if (this.#late[lane] >= mostLate) return await this.#findShared(question) ?? Promise.reject(refusal())
    this.#late[lane]++
    try {
      return await this.#fly(key, question, lane)
    } finally {
      this.#late[lane]--
    }
  }

  #fly (key: string, question: Question, lane: Lane = 'new'): Promise<TenantRecord | undefined> {
    const name = flightOf(key, lane)
    const underWay = this.#flights.get(name)
    if (underWay !== undefined) return underWay
    const flight = this.#load(key, question, lane).finally(() => {
      if (this.#flights.get(name) === flight) this.#flights.delete(name)
    })
    this.#flights.set(name, flight)
    return flight
  }

  async #load (key: string, question: Question, lane: Lane): Promise<TenantRecord | undefined> {
    const { redis, turns } = this.#tiers
    const isCurrent = this.#watch()
    // Without Redis a look-up costs more and does the same.
    const shared = await redis?.get(question).catch(() => undefined)
    if (shared === undefined || shared.isFresh || turns === undefined)
      return this.#answer(key, question, shared, isCurrent, lane)
    const turn = await turns.wait(question, shared)
    return this.#answer(key, question, turn.shared, isCurrent, lane, turn.end)
  }

  /** What Redis knows, for those who may not ask the registry. */
  async #findShared (question: Question): Promise<TenantRecord | undefined> {
    const isCurrent = this.#watch()
    const shared = await this.#tiers.redis?.get(question).catch(() => undefined)
    return shared?.isFresh ? this.#answer(localKey(question), question, shared, isCurrent, 'late') : undefined
  }

  /** Tells later whether no change was heard of in between. */
  #watch (): () => boolean {
    const generation = this.#generation
    return () => generation === this.#generation
  }

  /** The answer of Redis where that is fresh, or else of the registry, remembered unless a change overtook it. */
  async #answer (
    key: string,
    question: Question,
    found: RedisAnswer | undefined,
    isCurrent: () => boolean,
    lane: Lane,
    endTurn?: () => Promise<void>
  ): Promise<TenantRecord | undefined> {
    const { local, redis, registry } = this.#tiers
    const shared = withoutOlder(found, local.peek(key))
    if (shared?.isFresh) {
      if (isCurrent()) local.set(question, shared.tenant as TenantRecord)
      return shared.tenant
    }
    const stale = (): TenantRecord | undefined =>
      local.getStale(key) ?? (isCurrent() ? shared?.tenant : undefined)
    const isKnown = stale() !== undefined
    const readAt = Date.now()
    let stored: Promise<void> | undefined
    try {
      if (isKnown && registry.isDown) return stale()
      const tenant = await registry.find(question, isKnown ? 'known' : lane)
      if (!isCurrent()) return tenant
      if (tenant === undefined) {
        local.setUnknown(key)
      } else {
        local.set(question, tenant)
        stored = shared && redis?.set(question, tenant, shared.seen, readAt).catch(() => {})
      }
      return tenant
    } catch (error) {
      const usable = stale()
      if (usable === undefined) throw error
      return usable
    } finally {
      // Those who wait take the answer from Redis: it has to be there when their turn comes.
      if (endTurn !== undefined) void Promise.resolve(stored).then(endTurn).catch(() => {})
    }
  }
}

/** The name of a look-up that others may join. Nobody else is to stand in the line of those who are late, or of a server's questions. */
function flightOf (key: string, lane: Lane): string {
  return lane === 'new' || lane === 'known' ? key : `${lane}~${key}`
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
