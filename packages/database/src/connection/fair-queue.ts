import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'

import { DatabaseBusyError } from '../options/errors.ts'
import { Chain, type Link } from './chain.ts'

/** Bounds of a {@link FairQueue}. */
export interface FairQueueSettings {
  /** Number of slots. */
  readonly slots: number
  /** How many slots a tenant may hold while other tenants wait. */
  readonly share: number
  /** How many callers of one tenant may wait. */
  readonly maxWaiting: number
  /** The longest wait, in milliseconds. */
  readonly maxWait: number
  /**
   * How many slots stay free for a second tenant while only one is active; 0 if no second tenant
   * exists. @default 1
   */
  readonly spare?: number
}

interface Waiter {
  readonly grant: () => void
  readonly refuse: (reason: Error) => void
}

/** The waiters of one tenant, in order of arrival. */
interface Line {
  readonly tenant: string
  readonly waiters: Chain<Waiter>
  /** The line's link in the order of turns; undefined if it has no waiters. */
  turn: Link<Line> | undefined
}

/**
 * Hands out a pool's slots fairly. Tenants take turns, and no tenant exceeds its share while other
 * tenants wait. A tenant that is alone gets all slots but `spare`. Without that spare slot, the
 * next tenant would wait for the slowest query of the first.
 *
 * Round robin over flows, as in J. Nagle, "On Packet Switches with Infinite Storage", RFC 970.
 */
export class FairQueue {
  readonly #settings: FairQueueSettings
  readonly #held = new Map<string, number>()
  readonly #lines = new Map<string, Line>()
  // The order of turns. A tenant that was served moves to the end.
  readonly #turns = new Chain<Line>()
  #waiting = 0
  #free: number

  constructor (settings: FairQueueSettings) {
    this.#settings = settings
    this.#free = settings.slots
  }

  get waiting (): number {
    return this.#waiting
  }

  /**
   * Waits for a slot. The returned function releases it; further calls do nothing.
   *
   * @throws FST_TENANCY_DATABASE_BUSY if `maxWaiting` callers of the tenant wait already, or after
   * `maxWait`
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

  /** Rejects all waiting callers. Slots that are held can still be released. */
  close (): void {
    for (let line = this.#turns.shift(); line !== undefined; line = this.#turns.shift()) {
      this.#lines.delete(line.tenant)
      for (let waiter = line.waiters.shift(); waiter !== undefined; waiter = line.waiters.shift()) {
        waiter.refuse(new DatabaseUnavailableError())
      }
    }
    this.#waiting = 0
  }

  #mayTake (tenant: string): boolean {
    const held = this.#held.get(tenant) ?? 0
    const othersWait = this.#turns.size > (this.#lines.has(tenant) ? 1 : 0)
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
    const line = this.#lines.get(tenant) ?? { tenant, waiters: new Chain<Waiter>(), turn: undefined }
    if (line.waiters.size >= this.#settings.maxWaiting) return Promise.reject(new DatabaseBusyError())
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#leave(line, place)
        reject(new DatabaseBusyError())
      }, this.#settings.maxWait)
      const place = line.waiters.push({
        grant: () => {
          clearTimeout(timer)
          resolve()
        },
        refuse: (reason: Error) => {
          clearTimeout(timer)
          reject(reason)
        }
      })
      this.#waiting++
      if (line.turn !== undefined) return
      this.#lines.set(tenant, line)
      line.turn = this.#turns.push(line)
    })
  }

  #leave (line: Line, place: Link<Waiter>): void {
    line.waiters.remove(place)
    this.#waiting--
    if (line.waiters.size > 0) return
    this.#drop(line)
    // Another tenant may now be the only one waiting, which raises its limit from its share to all
    // slots.
    this.#serve()
  }

  #drop (line: Line): void {
    this.#lines.delete(line.tenant)
    if (line.turn !== undefined) this.#turns.remove(line.turn)
    line.turn = undefined
  }

  #serve (): void {
    while (this.#free > 0) {
      const line = this.#next()
      const waiter = line?.waiters.shift()
      if (line === undefined || waiter === undefined) return
      this.#waiting--
      this.#drop(line)
      if (line.waiters.size > 0) {
        this.#lines.set(line.tenant, line)
        line.turn = this.#turns.push(line)
      }
      this.#take(line.tenant)
      waiter.grant()
    }
  }

  // A line is skipped only if its tenant holds slots, so this loop visits at most `slots` lines.
  #next (): Line | undefined {
    let turn = this.#turns.first
    while (turn !== undefined && !this.#mayTake(turn.value.tenant)) turn = turn.after
    return turn?.value
  }
}
