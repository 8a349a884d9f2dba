import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { AbortedTransactionError } from 'kysely'

import type { ConnectionSettings } from './connection-settings.ts'
import type { ConnectionState } from './connection-state.ts'
import { lostError } from './lost-error.ts'
import type { BatchEnd, Tail, TransactionStatus, WireStatement } from './batch-end.ts'
import { afterDiscard, control, deallocateAll, discardAll, discardSequences, undoText } from './reset.ts'
import { markNeverExecuted } from './retry.ts'

/** The first statements of a batch, and its tail. */
export interface Opening {
  readonly statements: WireStatement[]
  /**
   * How many statements prepare the connection. If one of them fails, nothing else of the batch
   * ran.
   */
  readonly resetLength: number
  readonly drops: 'nothing' | 'names' | 'everything'
  readonly isCheck: boolean
  /** Whether the last values of sequences are discarded. */
  readonly dropsSequences: boolean
  readonly tail: Tail | undefined
}

/** The known properties of the statement that follows an opening. */
export interface Coming {
  readonly isHarmless: boolean
  /** Whether it may call nextval(), currval() or lastval(). */
  readonly usesSequences: boolean
}

/** The defaults of an opening. */
export const nothing = {
  resetLength: 0,
  drops: 'nothing',
  isCheck: false,
  dropsSequences: false,
  tail: undefined
} as const

type Status = TransactionStatus | undefined

/**
 * Decides which statements precede an owner's statement on one connection: a reset, the check of a
 * new connection, and `begin`. Tracks the open transaction.
 */
export class Openings {
  /** Whether the owner began a transaction and did not end it, even if `begin` was not sent yet. */
  isTransaction = false
  /** Whether `begin` was not sent yet. It is sent with the first statement. */
  isBeginPending = false
  /** Whether a statement of the transaction was sent. */
  hasRun = false
  /** The pid of the pooler's backend that runs the transaction. */
  backend: string | null = null
  readonly #state: ConnectionState
  readonly #settings: ConnectionSettings
  readonly #owner: string
  /**
   * The texts that began the transaction: `begin`, and the savepoints before its first statement.
   */
  #prelude: string[] = []
  /** Whether other owners' traces are on the connection while the transaction is open. */
  #seesOthers = false
  /** Whether the transaction may leave traces on a pooler's backend. */
  #leavesTraces = false

  constructor (state: ConnectionState, settings: ConnectionSettings, owner: string) {
    this.#state = state
    this.#settings = settings
    this.#owner = owner
  }

  /** Returns the text that began the transaction. */
  get begun (): string | undefined {
    return this.#prelude[0]
  }

  begin (text: string): void {
    this.isTransaction = this.isBeginPending = true
    this.#prelude = [text]
    this.hasRun = this.#seesOthers = this.#leavesTraces = false
  }

  /**
   * Returns the opening of savepoints. Savepoints before the first statement are sent again if the
   * transaction begins again.
   */
  savepoint (texts: readonly string[]): Opening {
    const opening = this.open({ isHarmless: true, usesSequences: false })
    if (!this.hasRun) this.#prelude.push(...texts)
    return opening
  }

  /** Returns the opening of a statement. */
  open (next: Coming): Opening {
    const { status } = this.#state
    return this.#settings.isPooled ? this.#openPooled(next, status) : this.#openDirect(next, status)
  }

  /**
   * Returns the opening that ends the transaction; undefined if none is open.
   *
   * @throws the reason why the connection was lost, if the transaction to commit is no longer open
   */
  end (how: 'commit' | 'rollback'): Opening | undefined {
    const { status } = this.#state
    const wasSent = !this.isBeginPending
    this.isTransaction = this.isBeginPending = false
    if (!wasSent) return undefined
    // True if the connection is lost, or if its reset failed.
    if (this.#state.isDead || status === 'I' || status === undefined) {
      if (how === 'commit') throw lostError(this.#state.fatal)
      return undefined
    }
    const tail = this.#leavesTraces ? this.#undoing(undefined) : undefined
    return { ...nothing, statements: [control(tail === undefined ? how : `${how} and chain`)], tail }
  }

  #openDirect ({ isHarmless, usesSequences }: Coming, status: Status): Opening {
    const { reset, resetRules, roleSettings } = this.#settings
    const { traces, isChecked } = this.#state
    // Discard only before the transaction's own first number. Later, currval() must return the
    // transaction's own value.
    const dropsSequences = this.isTransaction && usesSequences && !traces.areSequencesOf(this.#owner)
    // PostgreSQL refuses a reset inside a transaction. A clean connection shows two things,
    // prepared statements and sequence values, so drop these instead.
    if (this.isTransaction && !this.isBeginPending) {
      const isHiding = this.#seesOthers && !isHarmless
      if (isHiding) this.#seesOthers = false
      const statements = [...(isHiding ? [deallocateAll] : []), ...(dropsSequences ? [discardSequences] : [])]
      return { ...nothing, statements, drops: isHiding ? 'names' : 'nothing', dropsSequences }
    }
    const isOwn = traces.areOf(this.#owner)
    const isReset = status === 'I' && !isOwn && (reset === 'always' || traces.isTouched || !isHarmless)
    if (isReset && resetRules.isImpossible && traces.isTouched)
      throw markNeverExecuted(new DatabaseUnavailableError())
    const isCheck = roleSettings !== undefined && status === 'I' && !isChecked
    const statements = isReset ? [discardAll] : []
    // Before any query, because PostgreSQL accepts no isolation level after one.
    if (this.isBeginPending) statements.push(...this.#beginning(status))
    if (isReset) statements.push(...afterDiscard(resetRules))
    if (isCheck) statements.push(roleSettings.check)
    const resetLength = isReset || isCheck ? statements.length : 0
    this.#seesOthers = this.isBeginPending && !isOwn && !isReset
    if (dropsSequences && !isReset) statements.push(discardSequences)
    return {
      statements,
      resetLength,
      drops: isReset ? 'everything' : 'nothing',
      isCheck,
      dropsSequences,
      tail: undefined
    }
  }

  // Discard sequences, because even a harmless statement of another owner leaves their last values
  // on the pooler's backend.
  #openPooled ({ isHarmless }: Coming, status: Status): Opening {
    const isUndone = !isHarmless || this.#settings.reset === 'always'
    if (this.isTransaction) {
      if (isUndone) this.#leavesTraces = true
      const statements = this.isBeginPending
        ? [...this.#beginning(status), this.#askBackend(), discardSequences]
        : []
      return { ...nothing, statements }
    }
    if (!isUndone) return { ...nothing, statements: [] }
    return {
      ...nothing,
      statements: [control('begin'), this.#askBackend(), discardSequences],
      tail: this.#undoing('commit and chain')
    }
  }

  #beginning (status: Status): WireStatement[] {
    const begin = this.#prelude.map(control)
    return status === 'E' ? [control('rollback'), ...begin] : begin
  }

  #askBackend (): WireStatement {
    return {
      ...control('select pg_catalog.pg_backend_pid()'),
      onAnswer: pid => {
        this.backend = pid
      }
    }
  }

  // If a reset is impossible, the transaction stays open. The pooler then closes the backend with
  // the connection.
  #undoing (commit: string | undefined): Tail {
    const { resetRules } = this.#settings
    return { commit, undo: resetRules.isImpossible ? undefined : undoText(resetRules) }
  }
}

/**
 * @throws Kysely's AbortedTransactionError if the server answered ROLLBACK, because a statement had
 * failed and the application caught its error
 */
export function assertCommitted ({ tag }: BatchEnd): void {
  if (tag !== 'COMMIT') throw new AbortedTransactionError()
}
