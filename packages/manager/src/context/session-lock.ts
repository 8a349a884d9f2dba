import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { randomBytes } from 'node:crypto'

/**
 * Takes a session lock by name, without waiting. Roles of tenants can neither take nor hold it.
 *
 * @returns the key for {@link giveLock}; undefined if another session holds the lock
 */
export async function acquireLock (
  client: Pick<SqlClient, 'query'>,
  name: string
): Promise<string | undefined> {
  // Random, so that another session cannot take the key's advisory lock first: it learns the key
  // from pg_locks only later.
  const key = String(randomBytes(8).readBigUInt64BE() >> 2n)
  const { rows: [row] } = await client.query<{ got: boolean }>('select tenancy.acquire_lock($1, $2) as got', [
    name,
    key
  ])
  return row?.got === true ? key : undefined
}

/** Releases a lock of {@link acquireLock} on the same session. */
export async function giveLock (client: Pick<SqlClient, 'query'>, name: string, key: string): Promise<void> {
  await client.query('select tenancy.release_lock($1, $2)', [name, key])
}
