import type { SqlClient } from '@fastify-tenancy/postgres/client'

import { storedFunctions, storedLibraries } from './names.ts'
import { readTree, type TreeContent } from './node-tree.ts'
import * as question from './question.ts'
import type { Types } from './types.ts'

/** A stored expression of a table. */
export interface ExpressionRow {
  readonly relation: string
  /** False if reading the table may evaluate it, too. */
  readonly isOfWriting: boolean
  readonly tree: string
}

/** The facts of the stored expressions of tables. */
interface Expressions {
  /** The types that occur in the expressions. */
  readonly types: readonly string[]
  readonly signature: unknown
  /**
   * Whether the expressions of one table call only listed functions, for reading and for writing.
   */
  of(relation: string, types: Types): { readonly reading: boolean; readonly writing: boolean }
}

/**
 * Parses the trees, and reads from the catalog which of their functions and operators are listed.
 */
export async function readExpressions (
  client: SqlClient,
  rows: readonly ExpressionRow[]
): Promise<Expressions> {
  // Parse equal texts once, because each tenant table has the same default.
  const trees = new Map<string, TreeContent | undefined>()
  for (const { tree } of rows) if (!trees.has(tree)) trees.set(tree, readTree(tree))
  const contents = [...trees.values()].filter(tree => tree !== undefined)
  const operators = unique(contents.flatMap(tree => tree.operators))
  const ids = async (text: string, ...values: unknown[]): Promise<string[]> =>
    (await client.query<{ oid: string }>(text, values)).rows.map(({ oid }) => oid)
  const behind = operators.length === 0 ? [] : await ids(question.operatorFunctions, operators)
  const functions = [...new Set([...unique(contents.flatMap(tree => tree.functions)), ...behind])]
  const allowed = new Set(
    functions.length === 0
      ? []
      : await ids(question.allowedFunctions, functions, storedFunctions, storedLibraries)
  )
  const allowedOperators = new Set(
    operators.length === 0 ? [] : await ids(question.allowedOperators, operators, [...allowed])
  )
  const isHarmless = (tree: TreeContent | undefined, types: Types): boolean =>
    tree !== undefined &&
    tree.functions.every(oid => allowed.has(String(oid))) &&
    tree.operators.every(oid => allowedOperators.has(String(oid))) &&
    tree.types.every(oid => types.isHarmless(String(oid)))
  const byRelation = Map.groupBy(rows, ({ relation }) => relation)
  return {
    types: unique(contents.flatMap(tree => tree.types)),
    signature: [rows, [...allowed], [...allowedOperators]],
    of (relation, types) {
      const own = byRelation.get(relation) ?? []
      const areHarmless = (isOfWriting: boolean): boolean =>
        own.every(row => row.isOfWriting !== isOfWriting || isHarmless(trees.get(row.tree), types))
      return { reading: areHarmless(false), writing: areHarmless(true) }
    }
  }
}

function unique (ids: readonly number[]): string[] {
  return [...new Set(ids)].map(String)
}
