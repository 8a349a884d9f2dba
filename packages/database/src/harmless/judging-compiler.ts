import { PostgresQueryCompiler, type CompiledQuery, type RootOperationNode } from 'kysely'

import { QueryRefusedError } from '../options/errors.ts'
import type { Judge } from './judge.ts'
import { JudgedQuery } from './judged-query.ts'

/** Kysely's compiler, extended so that its queries carry a verdict. */
export class JudgingCompiler extends PostgresQueryCompiler {
  readonly #judge: () => Judge | undefined

  /**
   * @param judge returns undefined until the tenant's database is open; the query is then judged
   * when it runs
   */
  constructor (judge: () => Judge | undefined) {
    super()
    this.#judge = judge
  }

  /** @throws FST_TENANCY_QUERY_REFUSED for `item.name` if `name` is a function and no column */
  override compileQuery (node: RootOperationNode, queryId: CompiledQuery['queryId']): CompiledQuery {
    const query = new JudgedQuery(super.compileQuery(node, queryId))
    const judge = this.#judge()
    const verdict = judge && query.verdict(judge)
    if (verdict?.isCall === true && verdict.unknown?.isCertain === true) {
      judge?.hurry()
      const { item, column } = verdict.unknown
      throw new QueryRefusedError(
        `'${column}' is no column of '${item}', so that PostgreSQL would call the function or cast to the ` +
          'type of that name: write a call with eb.fn(), ' +
          "and correct the column's name; a column that was added just now is found within seconds"
      )
    }
    return Object.freeze(query)
  }

  /** Whether a query is proved to change and read nothing of its session. */
  readonly isHarmless = (query: CompiledQuery): boolean => this.#judge()?.isHarmless(query) === true
}
