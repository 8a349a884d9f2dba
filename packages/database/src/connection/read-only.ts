import type pg from 'pg'

/** The server is read-only, or the transaction is: read_only_sql_transaction. */
const readOnly = '25006'

const asked = new WeakSet<object>()

/** Whether an error says that a write came to a transaction or a server that takes none. */
export function isReadOnlyError ({ code }: pg.DatabaseError): boolean {
  return code === readOnly
}

/** Notes that the transaction of a 25006 had asked for read only: the statement is wrong, and the server is well. */
export function noteAsked (error: pg.DatabaseError): void {
  asked.add(error)
}

/** Whether a 25006 came in a transaction that had asked for read only. */
export function askedForReadOnly (error: object): boolean {
  return asked.has(error)
}
