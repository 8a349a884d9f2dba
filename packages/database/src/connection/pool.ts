import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { isEmbeddedPool, isServerError, type SqlClient } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import { DatabaseBusyError } from '../options/errors.ts'
import { BackendStopper } from './cancel.ts'
import type { ConnectionSettings } from './connection-settings.ts'
import { ConnectionState } from './connection-state.ts'
import { FairQueue, type FairQueueSettings } from './fair-queue.ts'
import { LookUps } from './look-ups.ts'
import { plainReset, readResetRules, type ResetRules } from './reset.ts'
import { RoleSettings } from './role-settings.ts'
import { TenantConnection, type ConnectionOwner } from './tenant-connection.ts'

/**
 * {@link FairQueueSettings} without the slots, which are the pool's connections. `share` is a
 * fraction of them.
 */
type Fairness = Omit<FairQueueSettings, 'slots'>

/** The settings that open a pool. */
type PoolUse = Pick<ConnectionSettings, 'types' | 'reset' | 'isTagged'>

/** The connections of one login to one database. */
export class ConnectionPool {
  readonly pool: pg.Pool
  /** Runs look-ups on these connections, apart from tenants' statements and without queueing. */
  readonly lookUps: SqlClient
  /** Like `lookUps`, for texts that read only pg_catalog: they leave the connection clean. */
  readonly catalog: LookUps
  /**
   * Called if a statement failed because the catalog changed. The statement is retried once the
   * result has settled.
   */
  onCatalogChanged: (() => void | Promise<void>) | undefined
  readonly #isOwned: boolean
  readonly #settings: { -readonly [K in keyof ConnectionSettings]: ConnectionSettings[K] }
  readonly #stopper = new BackendStopper()
  readonly #queue: FairQueue
  #isSettled = false
  // Number of callers that wait for a connection or hold one.
  #users = 0
  #onUnused: (() => void) | undefined

  /**
   * @param isOwned whether `close()` ends `pool`. A pool that was passed in is left open for its
   * caller.
   */
  constructor (pool: pg.Pool, isOwned: boolean, use: PoolUse, { share, ...fairness }: Fairness) {
    const slots = pool.options.max ?? 10
    this.pool = pool
    this.#queue = new FairQueue({ slots, share: Math.max(1, Math.floor(slots * share)), ...fairness })
    this.#isOwned = isOwned
    this.#settings = {
      ...use,
      stopper: this.#stopper,
      resetRules: plainReset,
      roleSettings: undefined,
      isPooled: false,
      catalogVersion: 0,
      onStale: () => {
        this.dropPreparedNames()
        return this.onCatalogChanged?.()
      }
    }
    this.lookUps = new LookUps(pool, this.#settings, 'anything')
    this.catalog = new LookUps(pool, this.#settings, 'catalog')
    // pg reports a backend that dies while idle here. Without a listener the process would end.
    pool.on('error', ignore)
    pool.on('connect', ConnectionState.of)
    watchAcquisitions(pool)
  }

  /**
   * Checks out a connection for one owner, in the turn of its tenant.
   *
   * @throws FST_TENANCY_DATABASE_BUSY if too many callers wait, or no connection came free in time
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE if the server cannot be reached
   */
  async acquire (owner: ConnectionOwner): Promise<TenantConnection> {
    const leave = this.hold()
    let giveBack = ignore
    try {
      giveBack = await this.#queue.acquire(owner.tenant)
      return new TenantConnection(await this.pool.connect(), owner, this.#settings, () => {
        giveBack()
        leave()
      })
    } catch (error) {
      giveBack()
      leave()
      throw this.explain(error)
    }
  }

  /** Whether a pooler may give each transaction another backend. */
  get isPooled (): boolean {
    return this.#settings.isPooled
  }

  /**
   * Switches to unnamed statements that undo their changes, because a pooler may give each
   * transaction another backend.
   */
  becomePooled (): void {
    this.#settings.isPooled = true
  }

  /** Makes every connection drop its prepared names before its next statement. */
  dropPreparedNames (): void {
    this.#settings.catalogVersion++
  }

  /** Reads from the catalog which steps a reset of these connections needs. */
  async readResetRules (client: SqlClient = this.catalog): Promise<ResetRules> {
    return this.#settings.resetRules = await readResetRules(client)
  }

  /** Sets the rules that were read through another pool of the same database. */
  setResetRules (rules: ResetRules): void {
    this.#settings.resetRules = rules
  }

  /** Whether the pool's boot has ended. */
  get isSettled (): boolean {
    return this.#isSettled
  }

  /** Ends the boot on a direct connection: stores the settings of its login and resets it. */
  async settle (client: pg.PoolClient): Promise<void> {
    this.#isSettled = true
    if (this.isPooled) return
    const state = ConnectionState.of(client)
    await state.resetNow(this.#settings.resetRules)
    if (!this.#isOwned || isEmbeddedPool(this.pool)) return
    this.#settings.roleSettings = await RoleSettings.read(this.pool, client)
    state.isChecked = true
  }

  /**
   * Closes the pool once no caller waits for a connection or holds one. Until then such callers may
   * check out more.
   */
  async retire (): Promise<void> {
    if (this.#users > 0)
      await new Promise<void>(resolve => {
        this.#onUnused = resolve
      })
    await this.close()
  }

  /** Keeps a retired pool open until the returned function is called. */
  hold (): () => void {
    this.#users++
    return () => {
      this.#users--
      if (this.#users === 0) this.#onUnused?.()
    }
  }

  get waiting (): number {
    return this.#queue.waiting
  }

  async close (): Promise<void> {
    this.#queue.close()
    this.#stopper.close()
    this.pool.off('error', ignore)
    this.pool.off('connect', ConnectionState.of)
    if (!this.#isOwned) return
    this.pool.on('error', ignore)
    await this.pool.end()
  }

  /** Converts an error of `acquire` into an error that may be shown to a client. */
  explain (error: unknown): Error {
    if (error instanceof DatabaseBusyError || error instanceof DatabaseUnavailableError) return error
    const isFull = this.pool.totalCount >= (this.pool.options.max ?? 10) && this.pool.idleCount === 0
    const isRefused = isServerError(error) && error.code === '53300'
    return isRefused || (isFull && !isServerError(error) && isTimeout(error))
      ? new DatabaseBusyError(undefined, { cause: error })
      : new DatabaseUnavailableError(undefined, { cause: error })
  }
}

function ignore (): void {}

const watched = new WeakSet<pg.Pool>()

// Registers the listener once per pool, because several parts of an application may share one.
function watchAcquisitions (pool: pg.Pool): void {
  if (watched.has(pool)) return
  watched.add(pool)
  pool.on('acquire', client => ConnectionState.of(client).acquired())
}

function isTimeout (error: unknown): boolean {
  return error instanceof Error && error.message === 'timeout exceeded when trying to connect'
}
