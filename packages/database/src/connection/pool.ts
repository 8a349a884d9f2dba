import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { isEmbeddedPool, isServerError, type SqlClient } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import { DatabaseBusyError } from '../options/errors.ts'
import { BackendStopper } from './cancel.ts'
import type { ConnectionSettings } from './connection-settings.ts'
import { Session } from './connection-state.ts'
import { FairQueue, type FairQueueSettings } from './fair-queue.ts'
import { LookUps } from './look-ups.ts'
import { plainReset, readResetRules, type ResetRules } from './reset.ts'
import { RoleSettings } from './role-settings.ts'
import { TenantConnection, type ConnectionOwner } from './tenant-connection.ts'

/** {@link FairQueueSettings} but for the slots, which are the pool's connections; `share` is a part of them. */
export type Fairness = Omit<FairQueueSettings, 'slots'>

/** What a pool is opened with. */
export type PoolUse = Pick<ConnectionSettings, 'types' | 'reset' | 'isTagged'>

/** The connections of one login to one database. */
export class ConnectionPool {
  readonly pool: pg.Pool
  /** Runs look-ups on these connections, apart from tenants' statements and without waiting for a turn. */
  readonly lookUps: SqlClient
  /** The same for texts that read nothing but pg_catalog: the connection stays clean. */
  readonly catalog: LookUps
  /** Called when a statement found that the catalog changed. The statement is repeated once it has settled. */
  onCatalogChanged: (() => void | Promise<void>) | undefined
  readonly #isOwned: boolean
  readonly #settings: { -readonly [K in keyof ConnectionSettings]: ConnectionSettings[K] }
  readonly #stopper = new BackendStopper()
  readonly #queue: FairQueue
  #isSettled = false
  // Those who wait for a connection or hold one.
  #users = 0
  #onUnused: (() => void) | undefined

  /** @param isOwned whether `close()` ends the pool: one that was passed in belongs to its caller. */
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
    // A backend that dies while idle is reported here; without a listener it would end the process.
    pool.on('error', ignore)
    pool.on('connect', Session.of)
    watchAcquisitions(pool)
  }

  /**
   * Borrows a connection for one tenant's statements, by the tenant's turn.
   *
   * @throws FST_TENANCY_DATABASE_BUSY when too many wait, or none came free in time
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE when the server cannot be reached
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

  /** Whether a pooler gives each transaction another backend. */
  get isPooled (): boolean {
    return this.#settings.isPooled
  }

  /** From now on statements go unnamed and undo what they leave: a pooler gives each transaction another backend. */
  becomePooled (): void {
    this.#settings.isPooled = true
  }

  /** Has every connection forget its prepared statements before its next statement. */
  dropPreparedNames (): void {
    this.#settings.catalogVersion++
  }

  /** Reads from the catalog what a reset of these connections has to do. */
  async readResetRules (client: SqlClient = this.catalog): Promise<ResetRules> {
    return this.#settings.resetRules = await readResetRules(client)
  }

  /** Takes the rules that were read through another pool of the same database. */
  setResetRules (rules: ResetRules): void {
    this.#settings.resetRules = rules
  }

  /** Whether the pool's boot has ended. */
  get isSettled (): boolean {
    return this.#isSettled
  }

  /** Ends the boot on a direct connection: remembers the settings of its login, and resets it. */
  async settle (client: pg.PoolClient): Promise<void> {
    this.#isSettled = true
    if (this.isPooled) return
    const state = Session.of(client)
    await state.resetNow(this.#settings.resetRules)
    if (!this.#isOwned || isEmbeddedPool(this.pool)) return
    this.#settings.roleSettings = await RoleSettings.read(this.pool, client)
    state.isChecked = true
  }

  /** Closes the pool as soon as nobody waits for a connection or holds one; whoever has it may still borrow until then. */
  async retire (): Promise<void> {
    if (this.#users > 0)
      await new Promise<void>(resolve => {
        this.#onUnused = resolve
      })
    await this.close()
  }

  /** Keeps a pool that is retired open until the returned function is called. */
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
    this.pool.off('connect', Session.of)
    if (!this.#isOwned) return
    this.pool.on('error', ignore)
    await this.pool.end()
  }

  /** An error in getting a connection, as one that a client may be told of. */
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

// Once per pool, which several parts of an application may share.
function watchAcquisitions (pool: pg.Pool): void {
  if (watched.has(pool)) return
  watched.add(pool)
  pool.on('acquire', client => Session.of(client).acquired())
}

function isTimeout (error: unknown): boolean {
  return error instanceof Error && error.message === 'timeout exceeded when trying to connect'
}
