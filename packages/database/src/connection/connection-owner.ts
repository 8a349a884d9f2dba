import type { RowGuard } from './tripwire.ts'

/** A statement with its parameters, not yet bound to a connection. */
export interface Query {
  readonly text: string
  readonly values: readonly unknown[]
  /**
   * Whether the statement is proved to change and read nothing of its session. Absent means that it
   * may.
   */
  readonly isHarmless?: boolean
  /** `'array'`: each row is an array of its values. @default an object */
  readonly rowMode?: 'array' | undefined
  /** Type parsers of this statement's result. @default those of the pool */
  readonly types?: unknown
}

/** The context statement, which a connection runs before each statement of a tenant. */
export interface Context extends Query {
  /** The key of its text in the record of prepared names. */
  readonly name: string
  /** Called with the first value of the context's reply, once the whole batch succeeded. */
  readonly onAnswer?: (value: string) => void
}

/**
 * Returns the context of one statement. `isBegun` is true if its transaction already ran a
 * statement. `isStream` is true if its rows are read in chunks; the server's own timeout is then
 * off, see `StreamClock`.
 */
export type MakeContext = (
  client: { readonly processID: number | null },
  isBegun: boolean,
  isStream?: boolean
) => Context

/** The owner for which a connection is checked out. */
export interface ConnectionOwner {
  /** A tenant's id. Other kinds of handles use a name with a colon, which no tenant id contains. */
  readonly tenant: string
  /** Undefined for look-ups, which run without a tenant. */
  readonly context: MakeContext | undefined
  /** Undefined if the tripwire is off. */
  readonly guard: RowGuard | undefined
  /**
   * The schema in which unqualified names are found, if it differs between owners of the same pool.
   */
  readonly schema?: string
  /**
   * Milliseconds until a statement without a reply counts as lost. It is longer than the server's
   * own timeout, so the server or the network is then gone.
   */
  readonly deadline: number
  /** Whether the context makes each transaction read-only. @default false */
  readonly isReadOnly?: boolean
  /**
   * Whether the connection leads to the tenant's own database. Its loss may then mean that the
   * database was dropped. @default false
   */
  readonly hasOwnDatabase?: boolean
  /** Milliseconds that the server may work on one statement. */
  readonly statementTimeout?: number
}
