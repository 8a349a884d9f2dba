/** One connection that runs SQL: a `pg.Client` or a client of a `pg.Pool`. A pool itself fits wherever no transaction is asked for. */
export interface SqlClient {
  /** Without values, the text may hold several statements. */
  query<R>(text: string, values?: unknown[]): Promise<{ rows: R[]; rowCount: number | null }>
}

/** Runs `work` in a transaction of its own: committed when it resolves, rolled back when it rejects. */
export async function inTransaction<T> (client: SqlClient, work: () => Promise<T>): Promise<T> {
  await client.query('begin')
  try {
    const result = await work()
    await client.query('commit')
    return result
  } catch (error) {
    // The connection may be the very thing that broke: the first error is the one that matters.
    await client.query('rollback').catch(() => {})
    throw error
  }
}

/** The SQLSTATE of a database's error; undefined for any other. */
export function sqlState (error: unknown): string | undefined {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && code.length === 5 ? code : undefined
}

/** `name` as a quoted identifier. */
export function quoteName (name: string): string {
  if (name === '' || name.includes('\0'))
    throw new TypeError('an identifier must be a non-empty string without NUL')
  return `"${name.replaceAll('"', '""')}"`
}

/** `text` as a quoted literal, whatever `standard_conforming_strings` says. */
export function quoteText (text: string): string {
  if (text.includes('\0')) throw new TypeError('a literal must not hold NUL')
  const quoted = `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
  return text.includes('\\') ? ` E${quoted}` : quoted
}

/** SQL for the name of a table or sequence with its schema, which means the same whatever the search path is. */
export function nameOfRelation (oid: string): string {
  return `(select pg_catalog.format('%I.%I', place.nspname, relation.relname) from pg_catalog.pg_class relation join pg_catalog.pg_namespace place on place.oid = relation.relnamespace where relation.oid = ${oid})`
}
