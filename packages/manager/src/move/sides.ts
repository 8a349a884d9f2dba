import type pg from 'pg'

import type { ManagerContext } from '../context.ts'
import { Lines } from '../transfer/copy.ts'
import type { Digest } from '../transfer/digester.ts'
import { withHome, type Home } from '../transfer/home.ts'
import { inSession } from '../transfer/session.ts'
import { readTables, type TenantTable } from '../transfer/tables.ts'
import type { Move } from './moves.ts'
import { retried } from '../transfer/retried.ts'

/** One end of a copy: a home with its tables, and a session in it. */
export interface Side {
  readonly home: Home
  readonly client: pg.PoolClient
  readonly tables: readonly TenantTable[]
}

/** Runs `work` in a transaction in each of the two homes, that of the source on one snapshot; in one for both where they are in one database. */
export async function withSides<T> (
  context: ManagerContext,
  { source, target }: Move,
  signal: AbortSignal | undefined,
  work: (from: Side, to: Side) => Promise<T>
): Promise<T> {
  const { tables: listed } = context.options
  const options = { shared: listed.schema, ...(signal && { signal }) }
  const side = async (home: Home, client: pg.PoolClient): Promise<Side> => ({
    home,
    client,
    tables: await readTables(client, home, listed)
  })
  return retried(
    signal,
    () =>
      withHome(context, source, from =>
        withHome(context, target, to =>
          to.pool === from.pool
            // Within one database, rows need not come here: one session reads and writes.
            ? inSession(to, { ...options, isRepeatable: true }, async client => {
              await endWithClient(client)
              return work(await side(from, client), await side(to, client))
            })
            : inSession(from, { ...options, isSnapshot: true }, reader =>
              inSession(to, options, async writer => {
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
export async function readSnapshot ({ client }: Side): Promise<string> {
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
