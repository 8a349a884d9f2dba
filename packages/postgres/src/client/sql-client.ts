/**
 * One connection that runs SQL: a `pg.Client` or a client of a `pg.Pool`. A pool itself also fits,
 * except for transactions.
 */
export interface SqlClient {
  /** Without `values`, the text may hold several statements. */
  query<R>(text: string, values?: unknown[]): Promise<{ rows: R[]; rowCount: number | null }>
}

/**
 * Runs `work` in a transaction of its own: committed when it resolves, rolled back when it
 * rejects.
 */
export async function inTransaction<T> (client: SqlClient, work: () => Promise<T>): Promise<T> {
  await client.query('begin')
  try {
    const result = await work()
    await client.query('commit')
    return result
  } catch (error) {
    // The connection itself may be broken. The first error matters, so a failed rollback is
    // ignored.
    await client.query('rollback').catch(() => {})
    throw error
  }
}

/** Returns the SQLSTATE of a database error, or undefined for any other error. */
export function sqlState (error: unknown): string | undefined {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && code.length === 5 ? code : undefined
}

/** Returns `name` as a quoted identifier. */
export function quoteName (name: string): string {
  if (name === '' || name.includes('\0'))
    throw new TypeError('an identifier must be a non-empty string without NUL')
  return `"${name.replaceAll('"', '""')}"`
}

/** Returns `text` as a quoted literal, independent of `standard_conforming_strings`. */
export function quoteText (text: string): string {
  if (text.includes('\0')) throw new TypeError('a literal must not hold NUL')
  const quoted = `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
  return text.includes('\\') ? ` E${quoted}` : quoted
}

/**
 * Returns SQL for a table's or sequence's schema-qualified name, independent of the search path.
 */
export function nameOfRelation (oid: string): string {
  return `(select pg_catalog.format('%I.%I', place.nspname, relation.relname)
    from pg_catalog.pg_class relation
    join pg_catalog.pg_namespace place on place.oid = relation.relnamespace where relation.oid = ${oid})`
}
