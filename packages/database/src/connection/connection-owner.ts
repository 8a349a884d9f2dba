import type { RowGuard } from './tripwire.ts'

/** A statement with its parameters, not yet bound to a connection. */
export interface Query {
  readonly text: string
  readonly values: readonly unknown[]
  /** Whether the statement is proved to change and read nothing of its session. Absent means that it may. */
  readonly isHarmless?: boolean
  /** `'array'`: each row is an array of its values. @default an object */
  readonly rowMode?: 'array' | undefined
  /** Type parsers of this statement's result. @default those of the pool */
  readonly types?: unknown
}

/** What a connection runs before a statement of a tenant. */
export interface Context extends Query {
  /** The name that its text is prepared under. */
  readonly name: string
  /** Told the first value of the context's answer, once the whole batch went well. */
  readonly onAnswer?: (value: string) => void
}

/**
 * Makes the context of one statement; `isBegun` where its transaction has run statements before. `isStream` where its rows
 * are read in portions: the server's own timeout is off then, see `StreamClock`.
 */
export type MakeContext = (
  client: { readonly processID: number | null },
  isBegun: boolean,
  isStream?: boolean
) => Context

/** Whom a connection is borrowed for. */
export interface ConnectionOwner {
  /** A tenant's id; for other kinds of handles a name with a colon, which no tenant's id has. */
  readonly tenant: string
  /** Undefined for look-ups, which speak for no tenant. */
  readonly context: MakeContext | undefined
  /** Undefined where the tripwire is off. */
  readonly guard: RowGuard | undefined
  /** The schema in which names without one are found, where it is not the same for all borrowers of the pool. */
  readonly schema?: string
  /** The longest that one statement may go unanswered, in milliseconds: past the server's own timeout, the server or the way to it is gone. */
  readonly deadline: number
  /** Whether its context makes each transaction read-only. @default false */
  readonly isReadOnly?: boolean
  /** The longest that the server may work on one statement, in milliseconds. */
  readonly statementTimeout?: number
}
