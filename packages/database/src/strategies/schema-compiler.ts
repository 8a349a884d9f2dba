import { PostgresQueryCompiler, type CompiledQuery, type RootOperationNode } from 'kysely'

import type { SchemaQualifier } from './qualifier.ts'

/** Compiles the queries of one tenant of strategy `schema`: each table with its schema, after all plugins. */
export class SchemaCompiler extends PostgresQueryCompiler {
  readonly #schema: string
  readonly #qualifier: SchemaQualifier

  constructor (schema: string, qualifier: SchemaQualifier) {
    super()
    this.#schema = schema
    this.#qualifier = qualifier
  }

  override compileQuery (node: RootOperationNode, queryId: CompiledQuery['queryId']): CompiledQuery {
    return super.compileQuery(this.#qualifier.qualify(node, this.#schema, queryId), queryId)
  }
}
