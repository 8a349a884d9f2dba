import { tenantConflict } from '@fastify-tenancy/core'
import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { GuardedClient, isEmbeddedPool, sqlState, connectError } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import { noteErrorsOf } from './server-error.ts'
import { giveLock, acquireLock } from './session-lock.ts'
import { isShared } from './shared-session.ts'

/** The lock of all work on one tenant. */
export function tenantLock (id: string): string {
  return `tenancy tenant ${id}`
}

/** The lock of those who want one slug. */
export function slugLock (slug: string): string {
  return `tenancy slug ${slug}`
}

/** What {@link Locks.hold} gives to the work under a lock. */
export interface Held {
  /** @throws when the connection that holds the lock was lost: somebody else may be at work by now. */
  assertHeld(): void
}

/**
 * Locks by name between all managers of one database: rows of `tenancy.locks`, which no tenant may
 * touch. They are valid as long as the session lives that took them: one connection of their own,
 * so that work under a lock needs none of the pool's for it, and a killed process frees them. Not
 * through a pooler that shares connections.
 *
 * ```sql
 * select tenancy.take_lock('tenancy tenant 7f3c…', 2305843009213693951)
 * ```
 */
export class Locks {
  readonly #pool: () => pg.Pool
  #client: Promise<pg.Client> | undefined
  #newest: pg.Client | undefined
  // Within the session, this set decides at once.
  readonly #names = new Set<string>()

  /** @param pool of the default shard; asked for at the first lock. */
  constructor (pool: () => pg.Pool) {
    this.#pool = pool
  }

  /**
   * Runs `work` while nobody else holds `name`.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT with `busy` at once where somebody does.
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
    // The end of one that was lost may be told when the next is there already, which keeps its
    // locks.
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
          "options.database.ownerUrl leads through a pooler that shares connections, where two managers could hold one lock: give the server's own address"
        )
    } catch (error) {
      forget()
      client.end().catch(() => {})
      throw error
    }
    return client
  }
}

// The schema, or the function of an older version.
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
