import type pg from 'pg'

/** read_only_sql_transaction */
const readOnly = '25006'

const asked = new WeakSet<object>()

/**
 * Whether the connection of this error must be replaced, because its server no longer accepts
 * writes: the old primary after a failover. False if the transaction itself asked for read only,
 * because then the statement is wrong.
 */
export function isFailover (error: pg.DatabaseError, hadAsked: boolean): boolean {
  if (error.code !== readOnly) return false
  if (hadAsked) asked.add(error)
  return !hadAsked
}

/** Whether a 25006 occurred in a transaction that had asked for read only. */
export function askedForReadOnly (error: object): boolean {
  return asked.has(error)
}
