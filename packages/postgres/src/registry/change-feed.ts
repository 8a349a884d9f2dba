import { idProblem, type TenantChange } from '@fastify-tenancy/core'
import { setTimeout as sleep } from 'node:timers/promises'

import type { SqlClient } from '../client/sql-client.ts'
import type { ChangeLog } from './change-log.ts'

/** Milliseconds between two reads of the change log. Ids are gathered meanwhile. */
const gatherMs = 50

/** Most ids in one query. Beyond it the query asks for every change of the last hour. */
const mostIds = 500

/** The tenant ids in the channel's messages since the last read, or a mark for too many. */
class PendingIds {
  #ids = new Set<string>()
  #isOverfull = false

  /** Adds the id in a message. Any session may send messages, so only a valid id is used. */
  add (id: string): void {
    if (idProblem(id) !== undefined || this.#isOverfull) return
    this.#ids.add(id)
    if (this.#ids.size <= mostIds) return
    this.#ids.clear()
    this.#isOverfull = true
  }

  get isEmpty (): boolean {
    return this.#ids.size === 0 && !this.#isOverfull
  }

  /** Returns the ids and clears them; null stands for all tenants. */
  take (): readonly string[] | null {
    const ids = this.#isOverfull ? null : [...this.#ids]
    this.#ids = new Set()
    this.#isOverfull = false
    return ids
  }
}

/** Callbacks of a {@link ChangeFeed}, and the signal that ends it. */
interface FeedSettings {
  readonly onChange: (change: TenantChange) => void
  /** Called if changes may have been missed. */
  readonly onAll: () => void
  readonly signal: AbortSignal
}

/** Turns the messages of one listening connection into changes. */
export class ChangeFeed {
  readonly #client: SqlClient
  readonly #log: ChangeLog
  readonly #settings: FeedSettings
  readonly #pending = new PendingIds()
  #isReading = false

  constructor (client: SqlClient, log: ChangeLog, settings: FeedSettings) {
    this.#client = client
    this.#log = log
    this.#settings = settings
  }

  /** Handles one message: the id of a tenant that may have changed, or `'all'`. */
  receive (payload: string): void {
    if (payload === 'all') this.#settings.onAll()
    else this.#pending.add(payload)
    if (!this.#isReading && !this.#pending.isEmpty) void this.#read()
  }

  async #read (): Promise<void> {
    const { onChange, onAll, signal } = this.#settings
    this.#isReading = true
    try {
      while (!this.#pending.isEmpty) {
        const changes = await this.#log.read(this.#client, this.#pending.take())
        if (changes === 'all') onAll()
        else for (const change of changes) onChange(change)
        await sleep(gatherMs, undefined, { ref: false, signal })
      }
    } catch {
      // The log cannot be read. If the connection is lost, its 'end' event opens another one, which
      // begins with 'all' as well.
      if (!signal.aborted) onAll()
    } finally {
      this.#isReading = false
    }
  }
}
