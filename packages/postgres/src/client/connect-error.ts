import type pg from 'pg'

import { DatabaseUnavailableError } from '../errors.ts'
import { sqlState } from './sql-client.ts'

/** The connection to open, as error messages name it. */
interface ServerTarget {
  readonly url: string
  /**
   * `'default'`, or a name of `database.shards`. Undefined if the caller names the shard itself.
   */
  readonly shard: string | undefined
}

const advice: Readonly<Record<string, string>> = {
  '28P01': 'the server refused the password: correct it in the URL',
  28000: 'the server does not let this login in: correct the login in the URL, or pg_hba.conf',
  '3D000': 'there is no such database: create it, or correct its name in the URL',
  42501: 'the login may not connect to this database: grant it CONNECT',
  53300: 'the server has no connection left: close some, or raise max_connections'
}

const failed = new WeakSet<object>()

/**
 * Names shard, login, host and database in the error of a connection that could not be opened. The
 * message never holds the password.
 *
 * @returns an FST_TENANCY_DATABASE_UNAVAILABLE with the driver's error as its cause
 */
export function connectError (error: unknown, { url, shard }: ServerTarget): Error {
  if (error instanceof Error && failed.has(error)) return error
  const { username, host, pathname } = new URL(url)
  const reason = advice[sqlState(error) ?? ''] ?? `${messageOf(error)}: start the server, or correct the URL`
  const place = `${shard === undefined ? '' : `shard '${shard}', `}database '${
    decodeURIComponent(pathname.slice(1))
  }' on ${host || 'the default host'}`
  const login = username === '' ? '' : ` as login '${decodeURIComponent(username)}'`
  const named = new DatabaseUnavailableError(`${place} cannot be reached${login}: ${reason}`, {
    cause: error
  })
  failed.add(named)
  return named
}

/** Whether a connection could not be opened, so that no statement was sent. */
export function isConnectError (error: unknown): error is Error {
  return error instanceof Error && failed.has(error)
}

/** Whether a connection could not be opened because the database does not exist. */
export function isDatabaseMissing (error: unknown): boolean {
  return sqlState(isConnectError(error) ? error.cause : error) === '3D000'
}

// An AggregateError of Node holds one error per tried address and has no message of its own.
function messageOf (error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join(', ')
  return error instanceof Error ? error.message : String(error)
}

/** Makes a pool's `connect` and `query` fail with {@link connectError}. */
export function nameConnectErrors (pool: pg.Pool, target: ServerTarget): pg.Pool {
  const connect = pool.connect.bind(pool) as {
    (): Promise<pg.PoolClient>
    (callback: (error?: Error, client?: pg.PoolClient, release?: () => void) => void): void
  }
  const named = (
    callback?: (error?: Error, client?: pg.PoolClient, release?: () => void) => void
  ): unknown => {
    if (callback === undefined)
      return connect().catch((error: unknown) => {
        throw connectError(error, target)
      })
    return connect((error, client, release) => {
      callback(error && connectError(error, target), client, release)
    })
  }
  return Object.assign(pool, { connect: named })
}
