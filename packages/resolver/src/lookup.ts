import type { TenantChange, TenantRecord } from '@fastify-tenancy/core'

import type { Known, LocalTier } from './local-tier.ts'
import type { NameIndex } from './name-index.ts'
import { isPlausible, localKey, type Question } from './question.ts'
import type { RedisTier } from './redis-tier.ts'
import type { RegistryTier } from './registry-tier.ts'

/** The tiers in the order in which they are asked. */
export interface Tiers {
  readonly local: LocalTier
  /** All names there are; undefined where none is kept. */
  readonly index: NameIndex | undefined
  readonly redis: RedisTier | undefined
  readonly registry: RegistryTier
}

/** Finds tenants: in the process, then in Redis, then in the registry, one look-up per name at a time. */
export class TenantLookup {
  readonly #tiers: Tiers
  readonly #onChange: (id?: string) => void
  readonly #flights = new Map<string, Promise<TenantRecord | undefined>>()
  /** Counts changes. A look-up that began before a change must not be remembered after it. */
  #generation = 0

  /** @param onChange told of each change that is heard of, by the tenant's id; of none when some may have been missed. */
  constructor (tiers: Tiers, onChange: (id?: string) => void) {
    this.#tiers = tiers
    this.#onChange = onChange
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
   * @throws FST_TENANCY_REGISTRY_UNAVAILABLE when the registry cannot be reached and nothing usable is remembered.
   */
  async find (question: Question): Promise<TenantRecord | undefined> {
    if (!isPlausible(question)) return undefined
    const known = this.peek(question)
    return known === undefined ? this.#fly(localKey(question), question) : known ?? undefined
  }

  /** Forgets a tenant in this process. */
  forget (change: TenantChange): void {
    this.#overtake()
    this.#tiers.local.forget(change)
    this.#tiers.index?.add(change)
    this.#onChange(change.id)
  }

  /** Has every tenant asked for again: changes may have been missed. */
  distrust (): void {
    this.#overtake()
    this.#tiers.local.distrust()
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

  #fly (key: string, question: Question): Promise<TenantRecord | undefined> {
    const underWay = this.#flights.get(key)
    if (underWay !== undefined) return underWay
    const flight = this.#load(key, question).finally(() => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key)
    })
    this.#flights.set(key, flight)
    return flight
  }

  async #load (key: string, question: Question): Promise<TenantRecord | undefined> {
    const { local, redis, registry } = this.#tiers
    const generation = this.#generation
    const isCurrent = (): boolean => generation === this.#generation
    // Without Redis a look-up costs more and does the same.
    const shared = await redis?.get(question).catch(() => undefined)
    if (shared?.isFresh) {
      if (isCurrent()) local.set(question, shared.tenant as TenantRecord)
      return shared.tenant
    }
    const stale = (): TenantRecord | undefined => local.getStale(key) ?? (isCurrent() ? shared?.tenant : undefined)
    const isKnown = stale() !== undefined
    try {
      if (isKnown && registry.isDown) return stale()
      const tenant = await registry.find(question, isKnown)
      if (!isCurrent()) return tenant
      if (tenant === undefined) {
        local.setUnknown(key)
      } else {
        local.set(question, tenant)
        if (shared !== undefined) redis?.set(question, tenant, shared.seen).catch(() => {})
      }
      return tenant
    } catch (error) {
      const usable = stale()
      if (usable === undefined) throw error
      return usable
    }
  }
}
