import type { CompiledQuery, RootOperationNode } from 'kysely'

import type { Judge } from '../harmless/judge.ts'
import { JudgingCompiler } from '../harmless/judging-compiler.ts'
import type { SchemaQualifier } from './qualifier.ts'

/**
 * Compiles the queries of one tenant of strategy `schema`: writes the schema before each table,
 * after all plugins.
 */
export class SchemaCompiler extends JudgingCompiler {
  readonly #schema: string
  readonly #qualifier: SchemaQualifier

  constructor (schema: string, qualifier: SchemaQualifier, judge: Judge) {
    super(() => judge)
    this.#schema = schema
    this.#qualifier = qualifier
  }

  override compileQuery (node: RootOperationNode, queryId: CompiledQuery['queryId']): CompiledQuery {
    return super.compileQuery(this.#qualifier.qualify(node, this.#schema, queryId), queryId)
  }
}
