import type { Level } from '@fastify-tenancy/postgres/doctor'

import type { ServerStatus } from './pool-pulse.ts'

/** The state of the databases, as last observed. */
export interface DatabaseHealth {
  /**
   * `'down'`: no shard replies. `'degraded'`: one of several does not reply, or a server accepts no
   * more connections.
   */
  readonly status: ServerStatus
  /** Each shard's status by name. `'default'` is the shard of `database.url`. */
  readonly shards: Readonly<Record<string, ServerStatus>>
  /** The status of the registry's server; `'ok'` with a custom registry. */
  readonly registry: ServerStatus
  /** How far the parts were kept apart at the boot, L0 to L4; undefined before it. */
  readonly isolationLevel: Level | undefined
  /** Connections of this process, and callers that wait for one. */
  readonly connections: number
  readonly waiting: number
  /** The migration that tenants' own tables must have, `options.database.requireMigration`. */
  readonly requiredMigration: string | undefined
}

/** Returns the status of all shards together. */
export function overall (shards: Readonly<Record<string, ServerStatus>>): ServerStatus {
  const states = Object.values(shards)
  if (states.every(state => state === 'down')) return 'down'
  return states.every(state => state === 'ok') ? 'ok' : 'degraded'
}
