import { cancelStatement } from '@fastify-tenancy/database/connection'
import { quoteName, type WireClient } from '@fastify-tenancy/postgres/client'
import type pg from 'pg'

import type { RowPlacement } from '../placement/tenant-placement.ts'

/** Fixes the text formats of values, whatever the server's settings are. */
const forms = `
  set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; set local timezone = 'UTC';
  set local extra_float_digits = 1;
  set local bytea_output = 'hex'; set local lc_monetary = 'C'; set local xmloption = 'content';
  set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0;
  set local lock_timeout = '10s'`

interface TransactionOptions {
  /** The schema of the tenant and reference tables. Its types may be used by tenants' schemas. */
  readonly shared: string
  /** One snapshot for all statements, read-only. @default false */
  readonly isSnapshot?: boolean
  /**
   * One snapshot for all statements, which also see the transaction's own writes. @default false
   */
  readonly isRepeatable?: boolean
  /** Aborts the transaction until its commit is sent. */
  readonly signal?: AbortSignal
}

/**
 * Runs `work` in a transaction as a placement's owner. On failure the connection is closed, because
 * a stream may still be active on it.
 */
export async function inTransactionOn<T> (
  placement: RowPlacement,
  { shared, isSnapshot = false, isRepeatable = isSnapshot, signal }: TransactionOptions,
  work: (client: pg.PoolClient) => Promise<T>
): Promise<T> {
  signal?.throwIfAborted()
  const client = await placement.pool.connect()
  // Destroys the socket. A Terminate message would not be read by a backend that is busy sending.
  const drop = (): void => {
    socketOf(client).destroy()
  }
  const cancel = (): void => {
    // Before the first row of a sort, the backend sends nothing and so does not notice a closed
    // socket. Cancel the statement, too.
    cancelStatement(client as unknown as WireClient)
    drop()
  }
  signal?.addEventListener('abort', cancel)
  // A lost connection fails the work on it. Without a listener, the event would end the process.
  client.on('error', ignore)
  try {
    await client.query(
      `begin${isRepeatable ? ' isolation level repeatable read' : ''}${
        isSnapshot ? ' read only' : ''
      }; ${forms};
      set local search_path = ${quoteName(placement.schema)}, ${quoteName(shared)}, pg_temp`
    )
    const result = await work(client)
    signal?.throwIfAborted()
    signal?.removeEventListener('abort', cancel)
    await client.query('commit')
    client.off('error', ignore)
    client.release()
    return result
  } catch (error) {
    drop()
    client.release(true)
    throw signal?.aborted ? signal.reason : error
  } finally {
    signal?.removeEventListener('abort', cancel)
  }
}

function ignore (): void {}

function socketOf (client: pg.PoolClient): { destroy(): void } {
  return (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream
}
