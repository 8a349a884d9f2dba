import { GuardedClient, openPool, isServerError, wireClient,
  type PoolSettings } from '@fastify-tenancy/postgres/client'
import { callbackify } from 'node:util'
import type pg from 'pg'

import { Chain } from '../connection/chain.ts'
import { DatabaseBusyError } from '../options/errors.ts'
import type { WhenFull } from '../options/placement-options.ts'

interface BudgetSettings {
  /** How many connections the process may have open, over all pools. */
  readonly connections: number
  readonly whenFull: WhenFull
  /** Longest wait for a connection, in milliseconds. */
  readonly maxWait: number
}

/**
 * Limits the connections of all pools of a process together. A connection counts from before it is
 * opened until its socket has closed, so the pools that are ending count, too.
 */
export class ConnectionBudget {
  readonly #settings: BudgetSettings
  // Pools that may have an idle connection, in order of their last return.
  readonly #idle = new Set<pg.Pool>()
  readonly #waiting = new Chain<() => void>()
  #open = 0

  constructor (settings: BudgetSettings) {
    this.#settings = settings
  }

  /** Number of connections that are open, being opened or being closed. */
  get open (): number {
    return this.#open
  }

  /** Returns a client class whose connections count here. */
  #client (connectTimeout: number): new(config?: pg.ClientConfig) => pg.Client {
    const take = (): Promise<() => void> => this.#take()
    // The server's own limit (53300) is lower than our budget. Close one idle connection, so that
    // the caller's retry finds a slot.
    const evict = (): void => {
      this.#evict()
    }
    return class extends GuardedClient {
      constructor (config: pg.ClientConfig = {}) {
        super({ ...config, connectionTimeoutMillis: connectTimeout })
      }

      // The two signatures that pg.Pool uses.
      override connect (): Promise<this>
      override connect (callback: (error: Error) => void): void
      override connect (callback?: (error: Error) => void): Promise<this> | void {
        if (callback === undefined) return this.#counted()
        callbackify(() => this.#counted())(callback)
      }

      async #counted (): Promise<this> {
        const giveBack = await take()
        const { connection } = wireClient(this)
        connection.once('end', giveBack)
        try {
          await super.connect()
          return this
        } catch (error) {
          connection.stream.destroy()
          giveBack()
          if (isServerError(error) && error.code === '53300') evict()
          throw error
        }
      }
    }
  }

  /**
   * Opens a pool whose connections count, and whose idle connections may be closed for other pools.
   * `acquireTimeout` limits the opening of one connection.
   */
  openPool (url: string, settings: PoolSettings): pg.Pool {
    // Includes the wait for the budget, which precedes the opening and has its own limit.
    const acquireTimeout = this.#settings.maxWait + settings.acquireTimeout + 1_000
    const pool = openPool(url, { ...settings, acquireTimeout, Client: this.#client(settings.acquireTimeout) })
    pool.on('release', () => {
      this.#idle.delete(pool)
      this.#idle.add(pool)
      // Deferred, because the connection becomes idle only after this event. It is then closed, so
      // that a waiting caller of another pool gets its slot.
      if (this.#waiting.size > 0)
        setImmediate(() => {
          this.#evict()
        })
    })
    return pool
  }

  /** Removes a pool that has ended. */
  forget (pool: pg.Pool): void {
    this.#idle.delete(pool)
  }

  async #take (): Promise<() => void> {
    if (this.#open >= this.#settings.connections) await this.#wait()
    else this.#open++
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      const next = this.#waiting.shift()
      if (next === undefined) this.#open--
      else next()
    }
  }

  #wait (): Promise<void> {
    const { whenFull, maxWait } = this.#settings
    if (whenFull === 'reject') return Promise.reject(new DatabaseBusyError())
    this.#evict()
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.remove(place)
        reject(new DatabaseBusyError())
      }, maxWait)
      const place = this.#waiting.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  // pg.Pool cannot close a single idle connection, so check one out and release it with `true`. If
  // another caller gets it first, nothing is closed and the waiter keeps waiting.
  #evict (): void {
    if (this.#settings.whenFull !== 'evict') return
    for (const pool of this.#idle) {
      if (pool.idleCount === 0) this.#idle.delete(pool)
      if (pool.idleCount === 0 || pool.waitingCount > 0) continue
      pool.connect().then(client => client.release(true), () => {})
      return
    }
  }
}
