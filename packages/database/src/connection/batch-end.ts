import type { Field, RowDecoder } from '@fastify-tenancy/postgres/client'

/** One statement of a batch, as it is sent to the server. */
export interface WireStatement {
  readonly text: string
  readonly values: readonly unknown[]
  /** The name of the prepared statement; `''` for an unnamed one. */
  readonly name: string
  /** The key of its text in the record of prepared names. */
  readonly key?: string
  /** Whether the server holds the prepared statement already. Parse is then left out. */
  readonly isParsed: boolean
  /** Rows per chunk if the rows are streamed; 0 for all rows at once. */
  readonly chunk: number
  /** Receives the first column of its row. Not called for the last statement. */
  readonly onAnswer?: (value: string | null) => void
}

/** The status in ReadyForQuery: idle, in a transaction, in a failed transaction. */
export type TransactionStatus = 'I' | 'T' | 'E'

export interface Tail {
  /** Ends the transaction of the batch. If it fails, the batch reports its error. */
  readonly commit: string | undefined
  /** Undoes the changes that the transaction made to the session. */
  readonly undo: string | undefined
}

/** The server's reply to the last statement of a batch. */
export interface Reply {
  readonly rows: unknown[]
  readonly fields: readonly Field[]
  readonly command: string | null
  readonly rowCount: number | null
  /**
   * Whether the server sent a RowDescription. `SELECT … INTO` has the command tag SELECT but sends
   * none.
   */
  readonly hasRows: boolean
  /** The same reply as the `Result` object of `pg`. */
  readonly result: RowDecoder
}

/** How a batch ended. */
export interface BatchEnd {
  readonly reply: Reply
  /**
   * Raw columns and rows that the row guard could not check, because one of their tables is unknown
   * to it. See {@link RowGuard.loadColumns}.
   */
  readonly unverified: UnverifiedRows | undefined
  /** The first value of the reply to the statement before the last. */
  readonly contextAnswer: string | null
  readonly error: unknown
  /** Whether the reset at the start failed. PostgreSQL then skipped the rest of the batch. */
  readonly isResetError: boolean
  /** Whether a statement before the last failed. */
  readonly isEarly: boolean
  /**
   * The statement that failed before BindComplete, so that it did not run; undefined for every
   * other error.
   */
  readonly unbound: WireStatement | undefined
  /** The statements that the server parsed; undefined if it parsed none. */
  readonly parsed: readonly WireStatement[] | undefined
  /** The undo's reply (a backend pid); undefined if there was no undo or it failed. */
  readonly undoAnswer: string | null | undefined
  /**
   * The status in ReadyForQuery: `I` idle, `T` in a transaction, `E` in a failed transaction;
   * undefined if none arrived.
   */
  readonly status: TransactionStatus | undefined
  /** The command tag of the last statement that ran; `''` if none ran. */
  readonly tag: string
  /**
   * True if the server did not process any part of the batch: it sent a shutdown notice (57P01,
   * 57P02, 57P05) before any other reply.
   */
  readonly neverExecuted: boolean
}

export interface UnverifiedRows {
  readonly fields: readonly Field[]
  readonly rows: (readonly (string | null)[])[]
}

/**
 * Ends a stream whose first chunk could not be checked, because the catalog was read before the
 * table was created.
 */
export class UnverifiedRowsError extends Error {
  readonly unverified: UnverifiedRows

  constructor (unverified: UnverifiedRows) {
    super('a table was created after the catalog was read: run the statement again')
    this.unverified = unverified
  }
}
