import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { randomBytes } from 'node:crypto'

/**
 * Takes a lock of the session by name, at once or not at all. No role of a tenant can take or hold
 * it.
 *
 * @returns the key to give it back with; undefined where another session has it.
 */
export async function acquireLock (
  client: Pick<SqlClient, 'query'>,
  name: string
): Promise<string | undefined> {
  // Random, so that a session which reads it in pg_locks is too late to hold it first.
  const key = String(randomBytes(8).readBigUInt64BE() >> 2n)
  const { rows: [row] } = await client.query<{ got: boolean }>('select tenancy.take_lock($1, $2) as got', [
    name,
    key
  ])
  return row?.got === true ? key : undefined
}

/** Gives back what {@link acquireLock} took on the same session. */
export async function giveLock (client: Pick<SqlClient, 'query'>, name: string, key: string): Promise<void> {
  await client.query('select tenancy.give_lock($1, $2)', [name, key])
}
