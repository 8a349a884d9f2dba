import { tenantConflict } from '@fastify-tenancy/core'
import { GuardedClient, isEmbeddedPool, SetupInvalidError } from '@fastify-tenancy/database'
import type pg from 'pg'

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
  assertHeld (): void
}

/**
 * Locks by name between all managers of one database: session locks of one connection of their own, so that work under a
 * lock needs none of the pool's for it, and a killed process frees them. Not through a pooler that shares connections.
 *
 * ```sql
 * select pg_try_advisory_lock(hashtextextended('tenancy tenant 7f3c…', 0))
 * ```
 */
export class Locks {
  readonly #pool: () => pg.Pool
  #client: Promise<pg.Client> | undefined
  #newest: pg.Client | undefined
  // The server counts a session's second lock of a name as the same: within the session, this set decides.
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
      return isEmbeddedPool(this.#pool()) ? await work({ assertHeld () {} }) : await this.#holdOnServer(name, busy, work)
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
    const { rows: [row] } = await client.query<{ got: boolean }>('select pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1, 0)) as got', [name])
    if (row?.got !== true) throw tenantConflict(busy)
    try {
      return await work({
        assertHeld: () => {
          if (this.#client !== connecting) throw new Error('the connection that holds the tenant\'s lock was lost: call again')
        }
      })
    } finally {
      if (this.#client === connecting) await client.query('select pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended($1, 0))', [name])
    }
  }

  async #connect (): Promise<pg.Client> {
    const client = new GuardedClient(this.#pool().options)
    this.#newest = client
    // The end of one that was lost may be told when the next is there already, which keeps its locks.
    const forget = (): void => { if (this.#newest === client) this.#client = undefined }
    client.on('error', forget)
    client.on('end', forget)
    try {
      await client.connect()
      if (await isShared(client, this.#pool().options)) throw new SetupInvalidError('options.database.ownerUrl leads through a pooler that shares connections, where two managers could hold one lock: give the server\'s own address')
    } catch (error) {
      forget()
      client.end().catch(() => {})
      throw error
    }
    return client
  }
}

// An embedded database has one connection, which all managers of the process share.
const embedded = new WeakMap<pg.Pool, Set<string>>()

function namesOf (pool: pg.Pool): Set<string> {
  const names = embedded.get(pool) ?? new Set<string>()
  embedded.set(pool, names)
  return names
}
