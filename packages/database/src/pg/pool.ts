import pg from 'pg'

import type { TextDriver } from '../connection/text-connection.ts'
import type { WorkScope } from '../kysely/driver-settings.ts'
import { answer, readQueryArguments, type Callback } from './arguments.ts'
import { TenantPgClient, type ClientParts } from './client.ts'

/**
 * A tenant's `pg.Pool`, for libraries that take a pool of `pg`. It opens no connections. It checks
 * them out of the pools of `request.db`, by the same rules.
 */
export class TenantPgPool extends pg.Pool {
  readonly #parts: ClientParts
  readonly #clients = new Set<TenantPgClient>()

  constructor (driver: TextDriver, scope: WorkScope, types: pg.CustomTypesConfig | undefined) {
    // An inherited method cannot open a connection with this class.
    super({ Client: noClient } as unknown as pg.PoolConfig)
    this.#parts = { driver, types, assertOpen: () => scope.assertOpen() }
    scope.onClose(() => {
      for (const client of this.#clients) client.finish()
      this.#clients.clear()
    })
  }

  /** Runs one statement on a separately checked-out connection. */
  override query (config: unknown, values?: unknown, callback?: unknown): never {
    const call = readQueryArguments(config, values, callback)
    return answer(this.#query(config, values, call.callback), call.callback) as never
  }

  /**
   * Checks out a connection. `release()` returns it, and the end of the scope does so at the
   * latest.
   */
  override connect (callback?: unknown): never {
    const work = this.#connect()
    if (typeof callback !== 'function') return work as never
    work.then(
      client => process.nextTick(callback as Connected, undefined, client, client.release),
      (error: unknown) => process.nextTick(callback as Connected, error, undefined, () => {})
    )
    return undefined as never
  }

  override end (callback?: unknown): never {
    const error = new Error(
      'request.tenancy.pg belongs to its request and cannot be ended: close the app, which ends the pools'
    )
    if (typeof callback !== 'function') return Promise.reject(error) as never
    process.nextTick(callback as Callback, error)
    return undefined as never
  }

  async #query (config: unknown, values: unknown, callback: Callback | undefined): Promise<pg.QueryResult> {
    const client = await this.#connect()
    try {
      // `query()` calls the callback, so it is not passed to the client.
      const bound = values === callback ? undefined : values
      return await client.query(withoutCallback(config), bound) as pg.QueryResult
    } finally {
      client.release()
    }
  }

  async #connect (): Promise<TenantPgClient> {
    const { driver } = this.#parts
    const connection = await driver.acquireConnection()
    const client = new TenantPgClient(connection, this.#parts, released => this.#clients.delete(released))
    this.#clients.add(client)
    return client
  }
}

type Connected = (error: unknown, client: unknown, done: unknown) => void

function noClient (): never {
  throw new Error('request.tenancy.pg opens no connections of its own')
}

function withoutCallback (config: unknown): unknown {
  return typeof config === 'object' && config !== null && 'callback' in config
    ? { ...config, callback: undefined }
    : config
}
