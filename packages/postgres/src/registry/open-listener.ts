import type pg from 'pg'

import { GuardedClient } from '../client/guarded-client.ts'

/**
 * Opens a connection of its own, with the settings of a pool's, for `LISTEN`; undefined through a pooler that gives each
 * transaction another backend: there notifications reach nobody.
 */
export async function openListener (pool: pg.Pool): Promise<pg.Client | undefined> {
  const client = new GuardedClient(pool.options)
  client.on('error', () => {}) // its end is heard; unheard, the error would end the process
  await client.connect()
  if (await isDirect(client)) return client
  await client.end()
  return undefined
}

/** Whether a pool's connections keep their backends, so that one of them could listen. */
export async function canListen (pool: pg.Pool): Promise<boolean> {
  const client = await pool.connect()
  try {
    return await isDirect(client)
  } finally {
    client.release()
  }
}

// A pooler makes up a pid, since it keeps none of the server's.
async function isDirect (client: pg.ClientBase): Promise<boolean> {
  const { rows: [row] } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  return row?.pid === (client as pg.ClientBase & { readonly processID: number }).processID
}
