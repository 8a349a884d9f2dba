import type pg from 'pg'

import type { ManagerContext } from '../context/context.ts'
import type { Move } from '../operations/moves.ts'
import { withPlacement, type RowPlacement } from '../placement/tenant-placement.ts'
import { Lines } from '../tenant-rows/copy.ts'
import type { Digest } from '../tenant-rows/digester.ts'
import { retriedRows } from '../tenant-rows/retried-rows.ts'
import { inTransactionOn } from '../tenant-rows/session.ts'
import { readTables, type TransferTable } from '../tenant-rows/tables.ts'

/** One end of a copy: a placement, its tables and a connection to its database. */
export interface CopyEndpoint {
  readonly placement: RowPlacement
  readonly client: pg.PoolClient
  readonly tables: readonly TransferTable[]
}

/**
 * Runs `work` in one transaction for each of the two placements; the source's reads a single
 * snapshot. If both are in one database, they share one transaction.
 */
export async function withEndpoints<T> (
  context: ManagerContext,
  { source, target }: Move,
  signal: AbortSignal | undefined,
  work: (from: CopyEndpoint, to: CopyEndpoint) => Promise<T>
): Promise<T> {
  const { tables: listed } = context.options
  const options = { shared: listed.schema, ...(signal && { signal }) }
  const side = async (placement: RowPlacement, client: pg.PoolClient): Promise<CopyEndpoint> => ({
    placement,
    client,
    tables: await readTables(client, placement, listed)
  })
  return retriedRows(
    signal,
    () =>
      withPlacement(context, source, from =>
        withPlacement(context, target, to =>
          to.pool === from.pool
            // Within one database, one connection reads and writes, so rows do not pass through
            // this process.
            ? inTransactionOn(to, { ...options, isRepeatable: true }, async client => {
              await endWithClient(client)
              return work(await side(from, client), await side(to, client))
            })
            : inTransactionOn(from, { ...options, isSnapshot: true }, reader =>
              inTransactionOn(to, options, async writer => {
                for (const client of [reader, writer]) await endWithClient(client)
                return work(await side(from, reader), await side(to, writer))
              }))))
  )
}

/**
 * Makes the server cancel this transaction's statements when the client has disconnected, after the
 * pause expired or the process died. Otherwise a statement would run to its end and keep its locks.
 */
async function endWithClient (client: pg.PoolClient): Promise<void> {
  // PGlite and platforms without socket polling reject `client_connection_check_interval`.
  await client.query(`
    do $$ begin
      perform pg_catalog.set_config('client_connection_check_interval', '1s', true);
    exception when others then null; end $$;
    set local tcp_keepalives_idle = 15; set local tcp_keepalives_interval = 5`)
}

/** Returns the snapshot that the connection's transaction reads. */
export async function readSnapshot ({ client }: CopyEndpoint): Promise<string> {
  const { rows: [row] } = await client.query<{ snapshot: string }>(
    'select pg_catalog.pg_current_snapshot()::text as snapshot'
  )
  return row?.snapshot ?? ''
}

/**
 * Yields the lines of a query. COPY starts at the first read, because a connection runs one COPY at
 * a time.
 */
export async function* streamed (
  client: pg.PoolClient,
  query: string,
  onDigest: (digest: () => Digest) => void = () => {}
): AsyncGenerator<string> {
  const lines = new Lines(client, query)
  for await (const chunk of lines.read()) yield* chunk.toString('utf8', 0, chunk.length - 1).split('\n')
  onDigest(() => lines.digest())
}
