import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { assertMayTakeRoles } from '@fastify-tenancy/postgres/install'

import { ConnectionState } from '../connection/connection-state.ts'
import type { ConnectionPool } from '../connection/pool.ts'
import { resetsBackends, unresetPooler } from '../connection/pooler.ts'
import { unresettable } from '../connection/reset.ts'

export const signsWithSecond: string =
  'the database does not know the first secret of options.rls.secret yet, so this process signs with ' +
  'the second: run `tenancy init`, then start it again'

/** Boots the pool of `tenantRolesUrl`. Each login is checked, because only one may use a pooler. */
export async function bootRoles (
  pool: ConnectionPool,
  database: string
): Promise<{ readonly pool: ConnectionPool; readonly isDirect: boolean }> {
  const client = await pool.pool.connect()
  try {
    await assertMayTakeRoles(client, database)
    const { rows: [row] } = await client.query<{ pid: number }>('select pg_catalog.pg_backend_pid() as pid')
    const isDirect = row?.pid === ConnectionState.of(client).client.processID
    if (!isDirect) pool.becomePooled()
    await pool.settle(client)
    return { pool, isDirect }
  } finally {
    client.release()
  }
}

/**
 * Returns warnings about server settings that the operator can change, and that cost connections or
 * leave a gap.
 */
export async function poolWarnings (
  client: SqlClient,
  isPooled: boolean,
  isImpossible: boolean
): Promise<string[]> {
  const isUnreset = isPooled && await resetsBackends(client) === false
  return [...(isUnreset ? [unresetPooler] : []), ...(isImpossible ? [unresettable] : [])]
}
