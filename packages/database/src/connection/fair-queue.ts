import { DatabaseBusyError, DatabaseUnavailableError } from '../errors.ts'

/** Bounds of a {@link FairQueue}. */
export interface FairQueueSettings {
  /** How many may hold a slot at once. */
  readonly slots: number
  /** How many slots a tenant may hold while others wait. */
  readonly share: number
  /** How many of one tenant may wait. */
  readonly maxWaiting: number
  /** The longest wait, in milliseconds. */
  readonly maxWait: number
  /** How many slots a tenant that is alone leaves free for the next one; 0 where there is no other. @default 1 */
  readonly spare?: number
}

interface Waiter {
  readonly grant: () => void
  readonly refuse: (reason: Error) => void
}

/**
 * Hands out a pool's slots so that one tenant's load cannot hold the others up: who waits is served by turns of tenants,
 * not in order of arrival, and while others wait nobody gets more than a share. Alone, a tenant gets all slots but one:
 * that one is kept for whoever comes next, who would otherwise wait for the first tenant's slowest query.
 *
 * Round robin over flows, as in J. Nagle, "On Packet Switches with Infinite Storage", RFC 970.
 */
export class FairQueue {
  readonly #settings: FairQueueSettings
  readonly #held = new Map<string, number>()
  // Insertion order is the order of turns: a tenant that was served goes to the end.
  readonly #waiting = new Map<string, Waiter[]>()
  #free: number

  constructor (settings: FairQueueSettings) {
    this.#settings = settings
    this.#free = settings.slots
  }

  get waiting (): number {
    let count = 0
    for (const waiters of this.#waiting.values()) count += waiters.length
    return count
  }

  /**
   * Waits for a slot; the returned function gives it back, once.
   *
   * @throws FST_TENANCY_DATABASE_BUSY when too many of the tenant wait already, or after `maxWait`
   */
  async acquire (tenant: string): Promise<() => void> {
    if (!this.#mayTake(tenant)) await this.#wait(tenant)
    else this.#take(tenant)
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      this.#give(tenant)
    }
  }

  /** Turns away all who wait. Slots that are held are given back as ever. */
  close (): void {
    for (const waiter of [...this.#waiting.values()].flat()) waiter.refuse(new DatabaseUnavailableError())
    this.#waiting.clear()
  }

  #mayTake (tenant: string): boolean {
    const held = this.#held.get(tenant) ?? 0
    const othersWait = this.#waiting.size > (this.#waiting.has(tenant) ? 1 : 0)
    const { slots, share, spare = 1 } = this.#settings
    return this.#free > 0 && held < (othersWait ? share : Math.max(1, slots - spare))
  }

  #take (tenant: string): void {
    this.#free--
    this.#held.set(tenant, (this.#held.get(tenant) ?? 0) + 1)
  }

  #give (tenant: string): void {
    this.#free++
    const held = (this.#held.get(tenant) ?? 1) - 1
    if (held === 0) this.#held.delete(tenant)
    else this.#held.set(tenant, held)
    this.#serve()
  }

  #wait (tenant: string): Promise<void> {
    const waiters = this.#waiting.get(tenant) ?? []
    if (waiters.length >= this.#settings.maxWaiting) return Promise.reject(new DatabaseBusyError())
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#leave(tenant, waiter)
        reject(new DatabaseBusyError())
      }, this.#settings.maxWait)
      const waiter = {
        grant: () => {
          clearTimeout(timer)
          resolve()
        },
        refuse: (reason: Error) => {
          clearTimeout(timer)
          reject(reason)
        }
      }
      waiters.push(waiter)
      this.#waiting.set(tenant, waiters)
    })
  }

  #leave (tenant: string, waiter: Waiter): void {
    const waiters = this.#waiting.get(tenant)?.filter(other => other !== waiter) ?? []
    if (waiters.length === 0) this.#waiting.delete(tenant)
    else this.#waiting.set(tenant, waiters)
    // Who waited beside it may be alone now, and so may have more.
    this.#serve()
  }

  #serve (): void {
    for (;;) {
      const tenant = [...this.#waiting.keys()].find(candidate => this.#mayTake(candidate))
      if (tenant === undefined) return
      const waiters = this.#waiting.get(tenant) ?? []
      const waiter = waiters.shift()
      this.#waiting.delete(tenant)
      if (waiters.length > 0) this.#waiting.set(tenant, waiters)
      this.#take(tenant)
      waiter?.grant()
    }
  }
}
