import type { CompiledQuery, RootOperationNode } from 'kysely'

import type { UnknownColumn } from './reading.ts'

/** What is known of one text. */
export interface HarmlessVerdict {
  readonly isHarmless: boolean
  /** False where a node is not known, so that nothing else is. */
  readonly isReadable: boolean
  /** A reference `item.column` that is no column. */
  readonly unknown: UnknownColumn | undefined
  /** Whether PostgreSQL would take it for a call of a function, or a cast to a type. */
  readonly isCall: boolean
  readonly version: number
}

/** What judges a query: see the class `Judge`. */
export interface QueryJudge {
  verdict(sql: string, node: RootOperationNode): HarmlessVerdict
  isCurrent(verdict: HarmlessVerdict): boolean
}

/** A query that a compiler of ours made from nodes. Its text cannot be changed, so that a verdict on it holds. */
export class JudgedQuery implements CompiledQuery {
  readonly query: RootOperationNode
  readonly queryId: CompiledQuery['queryId']
  readonly sql: string
  readonly parameters: readonly unknown[]
  // What runs is this text. A private field cannot be forged, and is not copied with the rest.
  readonly #sql: string
  readonly #node: RootOperationNode
  #judge: QueryJudge | undefined
  #verdict: HarmlessVerdict | undefined

  constructor ({ query, queryId, sql, parameters }: CompiledQuery) {
    this.query = query
    this.queryId = queryId
    this.sql = sql
    this.parameters = parameters
    this.#sql = sql
    this.#node = query
  }

  static isOwn (query: CompiledQuery): query is JudgedQuery {
    return #sql in query && query.sql === query.#sql
  }

  /** The verdict of a judge on it; kept, since most queries are compiled and run under one. */
  verdict (judge: QueryJudge): HarmlessVerdict {
    if (this.#judge === judge && this.#verdict !== undefined && judge.isCurrent(this.#verdict))
      return this.#verdict
    this.#judge = judge
    return this.#verdict = judge.verdict(this.#sql, this.#node)
  }
}
