import { GuardedClient } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

/** The longest that a pooler may keep a question waiting, in milliseconds: where its one backend is busy, it waits for that. */
const lockRetry = 2_000

/**
 * Whether a pooler gives each transaction of a connection another backend, whose session locks are then anybody's. A pooler that
 * gives each connection one does no harm.
 */
export async function isShared (client: pg.Client, options: pg.ClientConfig): Promise<boolean> {
  const first = await pidOf(client)
  // A pooler makes up a pid, since it keeps none of the server's.
  if (first === (client as pg.Client & { readonly processID: number }).processID) return false
  const other = new GuardedClient({ ...options, query_timeout: lockRetry })
  other.on('error', () => {}) // its end is heard; unheard, the error would end the process
  try {
    await other.connect()
    await other.query('begin')
    // The backend that was the first one's is often the one that is taken; and who has none of its own gets one after the other.
    const pids = [await pidOf(other)]
    const looks = (async () => {
      for (let look = 0; look < 3; look++) pids.push(await pidOf(client))
    })()
    const timer = Promise.withResolvers<'late'>()
    const timeout = setTimeout(() => {
      timer.resolve('late')
    }, lockRetry)
    const end = await Promise.race([looks, timer.promise]).finally(() => {
      clearTimeout(timeout)
    })
    if (end !== 'late') return pids[0] === first || pids.slice(1).some(pid => pid !== first)
    looks.catch(() => {})
    return true
  } finally {
    await other.end().catch(() => {})
  }
}

async function pidOf (client: pg.Client): Promise<number> {
  const { rows: [row] } = await client.query<{ pid: number }>('select pg_catalog.pg_backend_pid() as pid')
  return row?.pid ?? Number.NaN
}
