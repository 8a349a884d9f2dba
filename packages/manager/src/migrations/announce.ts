import { catalogChannel } from '@fastify-tenancy/core/keys'
import { catalogChange } from '@fastify-tenancy/postgres/registry'

import type { ManagerContext } from '../context/context.ts'

/** Minimum delay between two announcements, in milliseconds, while many tenants are migrated. */
const interval = 1_000

/**
 * Notifies running processes that tables changed: `NOTIFY tenancy, 'catalog'`, and through Redis if
 * it is configured. They drop their prepared statements, whose parameters would keep the old column
 * types.
 */
export class CatalogAnnouncer {
  readonly #context: ManagerContext
  #isDue = false
  #last = 0

  constructor (context: ManagerContext) {
    this.#context = context
  }

  /** Records a change. Announces it at once, or together with the changes of the next second. */
  async changed (): Promise<void> {
    this.#isDue = true
    if (Date.now() - this.#last >= interval) await this.flush()
  }

  /** Announces changes that were recorded and not announced yet. */
  async flush (): Promise<void> {
    if (!this.#isDue) return
    this.#isDue = false
    this.#last = Date.now()
    await this.#context.shards.get('default').query("select pg_catalog.pg_notify('tenancy', $1)", [
      catalogChange
    ])
    await this.#publish()
  }

  // Best-effort: the tables have changed already, so an unreachable Redis must not fail the
  // migration.
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
        step: `cannot publish to Redis that tables changed (${why}): processes that do not LISTEN to the ` +
          'database keep their prepared statements for a minute'
      })
    }
  }
}
