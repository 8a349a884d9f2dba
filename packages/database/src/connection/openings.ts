import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { AbortedTransactionError } from 'kysely'

import type { ConnectionSettings } from './connection-settings.ts'
import type { Session } from './connection-state.ts'
import { lostError } from './lost-error.ts'
import type { BatchEnd, Tail, WireStatement } from './pipelined-batch.ts'
import { afterDiscard, control, deallocateAll, discardAll, discardSequences, undoText } from './reset.ts'
import { markNeverExecuted } from './retry.ts'

/** The first statements of a batch, and what follows it in the same write. */
export interface Opening {
  readonly statements: WireStatement[]
  /** How many of them make the connection fit; if one fails, nothing of the batch ran. */
  readonly resetLength: number
  readonly drops: 'nothing' | 'names' | 'everything'
  readonly isCheck: boolean
  /** Whether the last values of sequences are discarded. */
  readonly dropsSequences: boolean
  readonly tail: Tail | undefined
}

/** What is known of the statement that an opening goes before. */
export interface Coming {
  readonly isHarmless: boolean
  /** Whether it may take numbers from sequences, or ask for them. */
  readonly usesSequences: boolean
}

/** The parts of an opening without statements. */
export const nothing = {
  resetLength: 0,
  drops: 'nothing',
  isCheck: false,
  dropsSequences: false,
  tail: undefined
} as const

type Status = BatchEnd['status']

/**
 * Decides what goes before an owner's statements on one connection: a reset, the check of a new connection, and `begin`.
 * Knows the open transaction.
 */
export class Openings {
  /** Whether a transaction was begun and not ended, be `begin` sent or not. */
  isTransaction = false
  /** Whether `begin` is still to be sent: it travels with the first statement. */
  isBeginPending = false
  /** Whether a statement of the transaction was sent. */
  hasRun = false
  /** The pooler's backend that runs the transaction. */
  backend: string | null = null
  readonly #state: Session
  readonly #settings: ConnectionSettings
  readonly #owner: string
  /** What began the transaction: `begin`, and the savepoints before its first statement. */
  #prelude: string[] = []
  /** Whether traces of other owners are on the connection while the transaction is open. */
  #seesOthers = false
  /** Whether the transaction may leave traces on a pooler's backend. */
  #leavesTraces = false

  constructor (state: Session, settings: ConnectionSettings, owner: string) {
    this.#state = state
    this.#settings = settings
    this.#owner = owner
  }

  /** The text that began the transaction. */
  get begun (): string | undefined {
    return this.#prelude[0]
  }

  begin (text: string): void {
    this.isTransaction = this.isBeginPending = true
    this.#prelude = [text]
    this.hasRun = this.#seesOthers = this.#leavesTraces = false
  }

  /** What goes before savepoints. Those before the first statement are sent again if the transaction begins again. */
  savepoint (texts: readonly string[], status: Status): Opening {
    const opening = this.open({ isHarmless: true, usesSequences: false }, status)
    if (!this.hasRun) this.#prelude.push(...texts)
    return opening
  }

  /** What goes before a statement. */
  open (next: Coming, status: Status): Opening {
    return this.#settings.isPooled ? this.#openPooled(next, status) : this.#openDirect(next, status)
  }

  /**
   * What ends the transaction; undefined where none is open.
   *
   * @throws why the connection was lost, where one that was to be committed is not open any more
   */
  end (how: 'commit' | 'rollback', status: Status): Opening | undefined {
    const wasSent = !this.isBeginPending
    this.isTransaction = this.isBeginPending = false
    if (!wasSent) return undefined
    // The connection is lost, or its reset failed.
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
    // Before the transaction's own first number: later it may ask for that.
    const dropsSequences = this.isTransaction && usesSequences && !traces.areSequencesOf(this.#owner)
    // Within a transaction PostgreSQL refuses a reset. The two things that a clean connection shows are dropped instead.
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
    // Before any query: PostgreSQL takes no isolation level after one.
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

  // A pooler's backend may show what a harmless statement of another owner left: the values of sequences.
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

  // Where a reset is impossible the transaction stays open, so that the pooler closes the backend with the connection.
  #undoing (commit: string | undefined): Tail {
    const { resetRules } = this.#settings
    return { commit, undo: resetRules.isImpossible ? undefined : undoText(resetRules) }
  }
}

/** @throws Kysely's AbortedTransactionError when the server answered a commit with ROLLBACK: a statement had failed, and its error was caught. */
export function assertCommitted ({ tag }: BatchEnd): void {
  if (tag !== 'COMMIT') throw new AbortedTransactionError()
}
