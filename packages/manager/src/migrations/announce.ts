import { catalogChannel } from '@fastify-tenancy/core'
import { catalogChange } from '@fastify-tenancy/postgres/registry'

import type { ManagerContext } from '../context/context.ts'

/** Milliseconds between two announcements while many tenants are migrated. */
const interval = 1_000

/**
 * Announces to the running processes that tables changed: `NOTIFY tenancy, 'catalog'`, and through Redis where there is one. They forget their prepared
 * statements, whose parameters would keep the types that the columns had before.
 */
export class CatalogAnnouncer {
  readonly #context: ManagerContext
  #isDue = false
  #last = 0

  constructor (context: ManagerContext) {
    this.#context = context
  }

  /** Records a change. Announces it at once, or with the changes of the next second. */
  async changed (): Promise<void> {
    this.#isDue = true
    if (Date.now() - this.#last >= interval) await this.flush()
  }

  /** Announces what was not announced yet. */
  async flush (): Promise<void> {
    if (!this.#isDue) return
    this.#isDue = false
    this.#last = Date.now()
    await this.#context.shards.get('default').query("select pg_catalog.pg_notify('tenancy', $1)", [
      catalogChange
    ])
    await this.#publish()
  }

  // The tables are changed: a Redis that does not answer fails nothing.
  async #publish (): Promise<void> {
    const { redis, options } = this.#context
    try {
      const open = await redis.get()
      if (open === undefined) return
      if (!redis.isAway) await open.ready()
      await open.publish(catalogChannel, catalogChange)
      redis.isAway = false
    } catch (error) {
      redis.isAway = true
      const why = error instanceof Error ? error.message : String(error)
      options.progress?.({
        operation: 'tell',
        tenant: '',
        step:
          `Redis could not be told that tables changed (${why}): a process that does not listen to the database keeps its prepared statements for a minute`
      })
    }
  }
}
