import { GuardedClient } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

/**
 * Longest wait for a reply through a pooler, in milliseconds. A pooler whose only backend is busy
 * does not reply.
 */
const replyTimeout = 2_000

/**
 * Whether a pooler gives transactions of one connection different backends, so that session locks
 * do not belong to the connection. A pooler with one backend per connection returns false.
 */
export async function isShared (client: pg.Client, options: pg.ClientConfig): Promise<boolean> {
  const first = await pidOf(client)
  // The pid of the connection's BackendKeyData equals the backend's without a pooler. Poolers send
  // a pid of their own.
  if (first === (client as pg.Client & { readonly processID: number }).processID) return false
  const other = new GuardedClient({ ...options, query_timeout: replyTimeout })
  other.on('error', () => {}) // `end` reports the loss; without a listener, the error would end the process
  try {
    await other.connect()
    await other.query('begin')
    // Hold one backend in a transaction and ask the first client for its pid again. A transaction
    // pooler usually gave us the first client's backend, so that client now waits or changes pid.
    // Ask three times, because a pooler may rotate backends.
    const pids = [await pidOf(other)]
    const looks = (async () => {
      for (let look = 0; look < 3; look++) pids.push(await pidOf(client))
    })()
    const timer = Promise.withResolvers<'late'>()
    const timeout = setTimeout(() => {
      timer.resolve('late')
    }, replyTimeout)
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
