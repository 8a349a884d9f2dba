import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { randomUUID } from 'node:crypto'
import { channel } from 'node:diagnostics_channel'

/**
 * Published when a pooler's backend may keep a statement's changes to its session. The message is
 * `{ tenant, ran, undone }`; the last two are pids.
 */
const failures = channel('fastify-tenancy:undo-failed')

/**
 * Whether the undo ran on the backend that ran the statement. Publishes
 * `fastify-tenancy:undo-failed` if not.
 *
 * @param undone undefined if the undo failed
 */
export function checkBackend (
  ran: string | null,
  undone: string | null | undefined,
  tenant: string
): boolean {
  if (undone !== undefined && undone === ran) return true
  failures.publish({ tenant, ran, undone })
  return false
}

/** The warning at boot about a pooler that does not reset its backends. */
export const unresetPooler: string =
  'the pooler hands backends on as a transaction leaves them: the driver undoes what its own statements ' +
  'leave, and other users of the pooler do not; set server_reset_query_always = 1 in PgBouncer, or the ' +
  'equivalent setting of another pooler'

/**
 * Whether the pooler resets a backend after each transaction, as PgBouncer does with
 * `server_reset_query_always`. Undefined if no later transaction ran on the first one's backend.
 */
export async function resetsBackends (client: SqlClient): Promise<boolean | undefined> {
  const mark = randomUUID()
  const { rows: [first] } = await client.query<Answer>(
    `select pg_catalog.pg_backend_pid()::text as pid,
      pg_catalog.set_config('tenancy.probe', $1, false) as mark`,
    [mark]
  )
  for (let attempt = 0; attempt < 20; attempt++) {
    // One statement reads the mark and removes it.
    const { rows: [next] } = await client.query<Answer>(
      `select pid, mark, case when mark = $1 then pg_catalog.set_config('tenancy.probe', '', false) end
      from (select pg_catalog.pg_backend_pid()::text as pid,
        pg_catalog.current_setting('tenancy.probe', true) as mark) as seen`,
      [mark]
    )
    if (next?.pid === first?.pid) return next?.mark !== mark
  }
  return undefined
}

interface Answer {
  readonly pid: string
  readonly mark: string | null
}
