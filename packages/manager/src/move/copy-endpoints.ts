import type pg from 'pg'

import type { ManagerContext } from '../context/context.ts'
import type { Move } from '../operations/moves.ts'
import { withPlacement, type RowPlacement } from '../placement/tenant-placement.ts'
import { Lines } from '../tenant-rows/copy.ts'
import type { Digest } from '../tenant-rows/digester.ts'
import { retried } from '../tenant-rows/retried.ts'
import { inTransactionOn } from '../tenant-rows/session.ts'
import { readTables, type TransferTable } from '../tenant-rows/tables.ts'

/** One end of a copy: a home with its tables, and a session in it. */
export interface CopyEndpoint {
  readonly placement: RowPlacement
  readonly client: pg.PoolClient
  readonly tables: readonly TransferTable[]
}

/** Runs `work` in a transaction in each of the two homes, that of the source on one snapshot; in one for both where they are in one database. */
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
  return retried(
    signal,
    () =>
      withPlacement(context, source, from =>
        withPlacement(context, target, to =>
          to.pool === from.pool
            // Within one database, rows need not come here: one session reads and writes.
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
 * Has the server end what it does for this transaction when nobody is there any more to hear of it: a statement whose client is gone, because its pause
 * is over or its process dead, would otherwise run to its end, and keep its locks.
 */
async function endWithClient (client: pg.PoolClient): Promise<void> {
  // An embedded server, and a system that cannot notice, refuse the first setting.
  await client.query(`
    do $$ begin
      perform pg_catalog.set_config('client_connection_check_interval', '1s', true);
    exception when others then null; end $$;
    set local tcp_keepalives_idle = 15; set local tcp_keepalives_interval = 5`)
}

/** The snapshot on which a session reads. */
export async function readSnapshot ({ client }: CopyEndpoint): Promise<string> {
  const { rows: [row] } = await client.query<{ snapshot: string }>(
    'select pg_catalog.pg_current_snapshot()::text as snapshot'
  )
  return row?.snapshot ?? ''
}

/** The lines of a query, one by one. Not begun before they are read: one connection has one COPY at a time. */
export async function* streamed (
  client: pg.PoolClient,
  query: string,
  onDigest: (digest: () => Digest) => void = () => {}
): AsyncGenerator<string> {
  const lines = new Lines(client, query)
  for await (const chunk of lines.read()) yield* chunk.toString('utf8', 0, chunk.length - 1).split('\n')
  onDigest(() => lines.digest())
}
