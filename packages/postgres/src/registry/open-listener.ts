import type pg from 'pg'

import { GuardedClient } from '../client/guarded-client.ts'

/**
 * Opens a separate connection for `LISTEN`, with the pool's settings. Returns undefined behind a
 * transaction pooler, where no notification would arrive.
 */
export async function openListener (pool: pg.Pool): Promise<pg.Client | undefined> {
  const client = new GuardedClient(pool.options)
  // The 'end' event reports the loss. Without this listener the error would end the process.
  client.on('error', () => {})
  await client.connect()
  if (await isDirect(client)) return client
  await client.end()
  return undefined
}

/** Whether a pool's connections keep their backends, so that one of them could LISTEN. */
export async function canListen (pool: pg.Pool): Promise<boolean> {
  const client = await pool.connect()
  try {
    return await isDirect(client)
  } finally {
    client.release()
  }
}

// A transaction pooler invents the pid that it sends, because it has no fixed backend.
async function isDirect (client: pg.ClientBase): Promise<boolean> {
  const { rows: [row] } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  return row?.pid === (client as pg.ClientBase & { readonly processID: number }).processID
}
