import { PostgresQueryCompiler, type CompiledQuery, type RootOperationNode } from 'kysely'

import { SchemaQualifier, type SchemaTables } from './qualifier.ts'

/** Compiles the queries of one tenant of strategy `schema`: each table with its schema, after all plugins. */
export class SchemaCompiler extends PostgresQueryCompiler {
  readonly #tables: SchemaTables

  constructor (tables: SchemaTables) {
    super()
    this.#tables = tables
  }

  override compileQuery (node: RootOperationNode, queryId: CompiledQuery['queryId']): CompiledQuery {
    return super.compileQuery(new SchemaQualifier(this.#tables).transformNode(node, queryId), queryId)
  }
}
