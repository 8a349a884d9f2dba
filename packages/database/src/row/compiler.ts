import { PostgresQueryCompiler, type CompiledQuery, type OperationNode, type QueryCompiler, type RootOperationNode, type ValueNode } from 'kysely'

import type { Query } from '../connection/lease.ts'
import { refuse } from './refuse.ts'
import { rewrite } from './rewrite.ts'
import type { Scope } from './scope.ts'
import type { TenantValue } from './tenant-value.ts'

/**
 * Compiles the queries of one tenant's handle. Kysely hands it each query once, complete, after all plugins; nothing
 * that a plugin or a sub-query does comes after it.
 */
export class RowCompiler implements QueryCompiler {
  readonly #scope: Scope
  readonly #printer: Printer
  /** What was compiled here. Kysely's own object can be changed by whoever holds it; what runs is this copy. */
  readonly #statements = new WeakMap<CompiledQuery, Query>()

  constructor (scope: Scope) {
    this.#scope = scope
    this.#printer = new Printer(scope.tenant)
  }

  compileQuery (node: RootOperationNode, queryId: CompiledQuery['queryId']): CompiledQuery {
    const { query, sql, parameters } = this.#printer.compileQuery(rewrite(node, this.#scope), queryId)
    const values = Object.freeze([...parameters])
    const compiled = Object.freeze({ query, queryId, sql, parameters: values })
    this.#statements.set(compiled, Object.freeze({ text: sql, values }))
    return compiled
  }

  /**
   * The statement of a query that was compiled here.
   *
   * @throws FST_TENANCY_QUERY_REFUSED for any other: made by hand, copied, or compiled by another handle, which may be another tenant's.
   */
  readonly statementOf = (query: CompiledQuery): Query =>
    this.#statements.get(query) ?? refuse('a compiled query that it did not compile itself', 'it may be another tenant\'s, or changed', 'build and execute the query with this handle')
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
