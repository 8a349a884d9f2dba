import type pg from 'pg'

/** read_only_sql_transaction */
const readOnly = '25006'

const asked = new WeakSet<object>()

/**
 * Whether the connection of this error is to be replaced: it leads to a server that takes no writes any more, as the old
 * primary does after a failover. Not where the transaction had asked for read only: then the statement is wrong.
 */
export function isFailover (error: pg.DatabaseError, hadAsked: boolean): boolean {
  if (error.code !== readOnly) return false
  if (hadAsked) asked.add(error)
  return !hadAsked
}

/** Whether a 25006 came in a transaction that had asked for read only. */
export function askedForReadOnly (error: object): boolean {
  return asked.has(error)
}
