import type { CompiledQuery, RootOperationNode } from 'kysely'

import type { Judge, Verdict } from './judge.ts'

/** A query that a compiler of ours made from nodes. Its text cannot be changed, so that a verdict on it holds. */
export class JudgedQuery implements CompiledQuery {
  readonly query: RootOperationNode
  readonly queryId: CompiledQuery['queryId']
  readonly sql: string
  readonly parameters: readonly unknown[]
  // What runs is this text. A private field cannot be forged, and is not copied with the rest.
  readonly #sql: string
  readonly #node: RootOperationNode
  #judge: Judge | undefined
  #verdict: Verdict | undefined

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
  verdict (judge: Judge): Verdict {
    if (this.#judge === judge && this.#verdict !== undefined && judge.isCurrent(this.#verdict))
      return this.#verdict
    this.#judge = judge
    return this.#verdict = judge.verdict(this.#sql, this.#node)
  }
}
