import { defaultPoolSettings } from '@fastify-tenancy/postgres/client'

import { ConnectionPool } from '../connection/pool.ts'
import type { Judge } from '../harmless/judge.ts'
import type { ResolvedDatabaseOptions } from '../options/options.ts'
import type { GlobalDatabase, GlobalKysely } from '../options/types.ts'
import type { ConnectionBudget } from '../pools/budget.ts'
import { accessSystem, systemUrlOf, type SystemAccessOptions, type SystemWork } from './access.ts'
import { RoleHandles } from './role-handles.ts'
import { SystemScope } from './scope.ts'

/**
 * Connections per shard for work across tenants. Few, because such work is rare and must not take
 * connections from requests.
 */
const systemConnections = 4

/** Work without a tenant: across tenants, and on the global tables. */
export class System {
  readonly global: GlobalKysely
  readonly #options: ResolvedDatabaseOptions
  readonly #budget: ConnectionBudget
  readonly #globalScope = new SystemScope()
  /** The scope of the global tables, and the scopes of work in progress. */
  readonly #scopes = new Set([this.#globalScope])
  readonly #pools: ConnectionPool[] = []
  readonly #shards: ReadonlyMap<string, RoleHandles>

  /**
   * @param shared the application's connections, used for the global tables if they have no login
   * of their own
   * @param judge the judge of statements on the global tables
   */
  constructor (
    options: ResolvedDatabaseOptions,
    shared: ConnectionPool,
    budget: ConnectionBudget,
    judge: Judge
  ) {
    const { globalUrl, systemUrl, shards, pool: { max } } = options.database
    this.#options = options
    this.#budget = budget
    this.#shards = new Map(
      Object.entries({ ...shards, default: { systemUrl } }).flatMap(([name, { systemUrl: url }]) =>
        url === undefined
          ? []
          : [[name, new RoleHandles(this.#open(url, systemConnections), {
            role: 'system',
            source: systemUrlOf(name),
            options
          })]]
      )
    )
    // A separate pool, so that log-ins, which need the global tables, do not wait for a report
    // across tenants.
    const login = globalUrl ?? systemUrl
    const forGlobal = login === undefined ? shared : this.#open(login, max)
    const source = globalUrl !== undefined
      ? 'options.database.globalUrl'
      : systemUrl === undefined
      ? 'options.database.url'
      : systemUrlOf('default')
    this.global = new RoleHandles(forGlobal, { role: 'global', source, options, judge }).open<GlobalDatabase>(
      this.#globalScope,
      false
    )
  }

  async access<T> (access: SystemAccessOptions, fn: (work: SystemWork) => T | Promise<T>): Promise<T> {
    const scope = new SystemScope()
    this.#scopes.add(scope)
    try {
      return await accessSystem({ shards: this.#shards, audit: this.#options.audit, scope }, access, fn)
    } finally {
      scope.end()
      this.#scopes.delete(scope)
    }
  }

  get connections (): number {
    return this.#pools.reduce((sum, { pool }) => sum + pool.totalCount, 0)
  }

  get waiting (): number {
    return this.#pools.reduce((sum, { waiting }) => sum + waiting, 0)
  }

  dropPreparedNames (): void {
    for (const pool of this.#pools) pool.dropPreparedNames()
  }

  /** Ends the work in progress, and the pools. */
  async close (): Promise<void> {
    for (const scope of this.#scopes) scope.end()
    await Promise.all(this.#pools.map(pool => pool.close()))
  }

  #open (url: string, max: number): ConnectionPool {
    const { types, reset, fairness } = this.#options.database
    const pool = new ConnectionPool(this.#budget.openPool(url, { ...defaultPoolSettings, max }), true, {
      types,
      reset
    }, fairness)
    this.#pools.push(pool)
    return pool
  }
}
