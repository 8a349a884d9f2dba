import type { CompiledQuery, RootOperationNode } from 'kysely'

import type { UnknownColumn } from './reading.ts'

/** The verdict on one text. */
export interface HarmlessVerdict {
  readonly isHarmless: boolean
  /** False if a node is unknown. The other fields then mean nothing. */
  readonly isReadable: boolean
  /** A reference `item.column` that matches no known column. */
  readonly unknown: UnknownColumn | undefined
  /** Whether PostgreSQL would take that reference for a function call or a cast. */
  readonly isCall: boolean
  readonly version: number
}

/** The part of `Judge` that judges a query. */
interface QueryJudge {
  verdict(sql: string, node: RootOperationNode): HarmlessVerdict
  isCurrent(verdict: HarmlessVerdict): boolean
}

/**
 * A query that one of the suite's compilers made from nodes. Its text is immutable, so a verdict on
 * it stays valid.
 */
export class JudgedQuery implements CompiledQuery {
  readonly query: RootOperationNode
  readonly queryId: CompiledQuery['queryId']
  readonly sql: string
  readonly parameters: readonly unknown[]
  // The text that runs. A private field cannot be forged, and copying the object does not copy it.
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

  /**
   * Returns a judge's verdict on this query. It is cached, because most queries are compiled and
   * run under the same judge.
   */
  verdict (judge: QueryJudge): HarmlessVerdict {
    if (this.#judge === judge && this.#verdict !== undefined && judge.isCurrent(this.#verdict))
      return this.#verdict
    this.#judge = judge
    return this.#verdict = judge.verdict(this.#sql, this.#node)
  }
}
