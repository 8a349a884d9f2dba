import { channels, type EventTenant } from '@fastify-tenancy/core'
import { PostgresQueryCompiler, type CompiledQuery, type OperationNode, type QueryCompiler,
  type RootOperationNode, type ValueNode } from 'kysely'

import type { Query } from '../connection/tenant-connection.ts'
import type { Judge } from '../harmless/judge.ts'
import { JudgedQuery } from '../harmless/judged-query.ts'
import { QueryRefusedError } from '../options/errors.ts'
import { refuse } from '../rewrite/refuse.ts'
import { rewrite } from '../rewrite/rewrite.ts'
import type { Scope } from '../rewrite/scope.ts'
import type { TenantValue } from '../rewrite/tenant-value.ts'
import { checkColumns } from './check-columns.ts'

/**
 * Compiles the queries of one tenant's handle. Kysely passes each query once, complete and after
 * all plugins, so no plugin or sub-query can change it afterwards.
 */
export class RowCompiler implements QueryCompiler {
  readonly #scope: Scope
  readonly #printer: Printer
  readonly #judge: Judge | undefined
  readonly #tenant: EventTenant | undefined

  /**
   * @param judge holds the columns of tables; without it only the columns of functions in FROM are
   * checked
   * @param tenant the tenant in the events of refused queries
   */
  constructor (scope: Scope, judge?: Judge, tenant?: EventTenant) {
    this.#scope = scope
    this.#tenant = tenant
    this.#judge = judge
    this.#printer = new Printer(scope.tenant)
  }

  compileQuery (node: RootOperationNode, queryId: CompiledQuery['queryId']): CompiledQuery {
    try {
      const query = new RowQuery(this, this.#printer.compileQuery(rewrite(node, this.#scope), queryId))
      checkColumns(query, this.#scope, this.#judge)
      return query
    } catch (error) {
      if (
        this.#tenant !== undefined && channels.queryRefused.hasSubscribers &&
        error instanceof QueryRefusedError
      )
        channels.queryRefused.publish({ tenant: this.#tenant, text: '', reason: (error as Error).message })
      throw error
    }
  }

  /**
   * Returns the statement of a query that this compiler compiled.
   *
   * @throws FST_TENANCY_QUERY_REFUSED for any other query: made by hand, copied, or compiled by
   * another handle, which may belong to another tenant
   */
  readonly statementOf = (query: CompiledQuery): Query =>
    RowQuery.statementOf(query, this) ??
      refuse(
        'a compiled query that it did not compile itself',
        "it may be another tenant's, or changed",
        'build and execute the query with this handle'
      )

  /** Whether a query is proved to change and read nothing of its session. */
  readonly isHarmless = (query: CompiledQuery): boolean => this.#judge?.isHarmless(query) === true
}

/**
 * A compiled query that stores its compiler. The executed statement is a private copy, which the
 * holder of the query cannot change.
 */
class RowQuery extends JudgedQuery {
  readonly #compiler: RowCompiler
  readonly #statement: Query

  constructor (compiler: RowCompiler, query: CompiledQuery) {
    super(query)
    Object.freeze(query.parameters)
    this.#compiler = compiler
    this.#statement = { text: query.sql, values: query.parameters }
    Object.freeze(this)
  }

  // A private field cannot be forged, and copying the object does not copy it.
  static statementOf (query: CompiledQuery, compiler: RowCompiler): Query | undefined {
    return #compiler in query && query.#compiler === compiler ? query.#statement : undefined
  }
}

/** Prints the tenant's parameter of each type once, however often it occurs. */
class Printer extends PostgresQueryCompiler {
  readonly #own: ReadonlySet<OperationNode>
  readonly #places = new Map<OperationNode, string>()

  constructor ({ parameters }: TenantValue) {
    super()
    this.#own = new Set(Object.values(parameters))
  }

  override compileQuery (node: RootOperationNode, queryId: CompiledQuery['queryId']): CompiledQuery {
    this.#places.clear()
    return super.compileQuery(node, queryId)
  }

  protected override visitValue (node: ValueNode): void {
    if (!this.#own.has(node)) return super.visitValue(node)
    const place = this.#places.get(node)
    if (place !== undefined) return this.append(place)
    super.visitValue(node)
    this.#places.set(node, this.getCurrentParameterPlaceholder())
  }
}
