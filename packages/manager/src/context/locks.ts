import { tenantConflict } from '@fastify-tenancy/core/errors'
import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { GuardedClient, isEmbeddedPool, sqlState, connectError } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import { noteErrorsOf } from './server-error.ts'
import { giveLock, acquireLock } from './session-lock.ts'
import { isShared } from './shared-session.ts'

/** Returns the name of the lock for all work on one tenant. */
export function tenantLock (id: string): string {
  return `tenancy tenant ${id}`
}

/** Returns the name of the lock for creating a tenant of one slug. */
export function slugLock (slug: string): string {
  return `tenancy slug ${slug}`
}

/** Passed by {@link Locks.hold} to the work under a lock. */
interface Held {
  /**
   * @throws if the connection that holds the lock was lost, so that another process may hold it now
   */
  assertHeld(): void
}

/**
 * Locks by name between all managers of one database: rows of `tenancy.locks`, which tenants cannot
 * access. One separate connection holds them, so that work under a lock needs no extra pool
 * connection. They end with its session, also when the process is killed. A pooler that shares
 * connections is refused.
 *
 * ```sql
 * select tenancy.take_lock('tenancy tenant 7f3c…', 2305843009213693951)
 * ```
 */
export class Locks {
  readonly #pool: () => pg.Pool
  #client: Promise<pg.Client> | undefined
  #newest: pg.Client | undefined
  // Names held by this session.
  readonly #names = new Set<string>()

  /** @param pool returns the default shard's pool; called at the first lock */
  constructor (pool: () => pg.Pool) {
    this.#pool = pool
  }

  /**
   * Runs `work` under the lock `name`.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT with the message `busy` at once if the lock is held
   * @throws FST_TENANCY_SETUP_INVALID through a pooler that shares connections
   */
  async hold<T> (name: string, busy: string, work: (held: Held) => Promise<T>): Promise<T> {
    const names = isEmbeddedPool(this.#pool()) ? namesOf(this.#pool()) : this.#names
    if (names.has(name)) throw tenantConflict(busy)
    names.add(name)
    try {
      return isEmbeddedPool(this.#pool())
        ? await work({ assertHeld () {} })
        : await this.#holdOnServer(name, busy, work)
    } finally {
      names.delete(name)
    }
  }

  async close (): Promise<void> {
    const client = await this.#client?.catch(() => undefined)
    await client?.end()
  }

  async #holdOnServer<T> (name: string, busy: string, work: (held: Held) => Promise<T>): Promise<T> {
    const connecting = this.#client ??= this.#connect()
    const client = await connecting
    const key = await acquireLock(client, name).catch((error: unknown) => {
      throw explain(error)
    })
    if (key === undefined) throw tenantConflict(busy)
    try {
      return await work({
        assertHeld: () => {
          if (this.#client !== connecting)
            throw new Error("the connection that holds the tenant's lock was lost: call again")
        }
      })
    } finally {
      if (this.#client === connecting) await giveLock(client, name, key)
    }
  }

  async #connect (): Promise<pg.Client> {
    const client = new GuardedClient(this.#pool().options)
    this.#newest = client
    // A lost client's `end` event may arrive after the next client has connected, which must keep
    // its locks.
    const forget = (): void => {
      if (this.#newest === client) this.#client = undefined
    }
    client.on('error', forget)
    client.on('end', forget)
    try {
      const { connectionString: url } = this.#pool().options
      await client.connect().catch((error: unknown) => {
        throw url === undefined ? error : connectError(error, { url, shard: 'default' })
      })
      if (url !== undefined) noteErrorsOf(client, { url, shard: 'default' })
      if (await isShared(client, this.#pool().options))
        throw new SetupInvalidError(
          'options.database.ownerUrl connects through a pooler that shares connections, so two managers ' +
            "could hold one lock: set it to the server's own address"
        )
    } catch (error) {
      forget()
      client.end().catch(() => {})
      throw error
    }
    return client
  }
}

// The schema `tenancy` is missing, or the function is of an older version.
function explain (error: unknown): unknown {
  if (!['3F000', '42883'].includes(sqlState(error) ?? '')) return error
  return new SetupInvalidError(
    'the database is not initialised, or by an older version: run `tenancy init`',
    { cause: error }
  )
}

// An embedded database has one connection, which all managers of the process share.
const embedded = new WeakMap<pg.Pool, Set<string>>()

function namesOf (pool: pg.Pool): Set<string> {
  const names = embedded.get(pool) ?? new Set<string>()
  embedded.set(pool, names)
  return names
}
