import type { FastifyInstance } from 'fastify'

/**
 * Ends every other connection to the database of `url`, as a crash or a failover does. The login
 * must be a superuser, or a member of the roles whose backends it ends.
 *
 * ```sql
 * select pg_terminate_backend(pid) from pg_stat_activity
 * where datname = current_database() and pid <> pg_backend_pid()
 * ```
 *
 * @returns how many backends were ended
 */
export async function killBackends (url: string): Promise<number> {
  // Imported here, so that an application without pg can use the rest of the package.
  const { default: pg } = await import('pg')
  const client = new pg.Client(url)
  await client.connect()
  try {
    const { rowCount } = await client.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid()`
    )
    return rowCount ?? 0
  } finally {
    await client.end()
  }
}

/**
 * Stops the Redis process `pid` (SIGSTOP). Its connections stay open and get no reply.
 *
 * @returns the function that continues it (SIGCONT)
 */
export function freezeRedis (pid: number): () => void {
  process.kill(pid, 'SIGSTOP')
  return () => {
    process.kill(pid, 'SIGCONT')
  }
}

/** The part of the resolver that listens for changes of tenants. */
interface Listening {
  readonly tenantResolver?: { start(): Promise<void>; stop(): Promise<void> }
}

/**
 * Stops the application from receiving changes of tenants, as a lost connection to Redis or to
 * LISTEN does.
 *
 * @returns the function that starts it again
 */
export async function loseInvalidations (app: FastifyInstance): Promise<() => Promise<void>> {
  const { tenantResolver } = app as Listening
  if (tenantResolver === undefined)
    throw new TypeError('register fastify-tenancy on the application before you call loseInvalidations()')
  await tenantResolver.stop()
  return () => tenantResolver.start()
}
