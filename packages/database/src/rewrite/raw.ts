import { FunctionNode, RawNode, type OperationNode } from 'kysely'

import { valueNode } from './nodes.ts'
import { refuse } from './refuse.ts'
import type { Scope } from './scope.ts'

/*
 * Kysely's helpers are raw SQL around checked nodes. They are recognised by their complete text,
 * and the nodes inside are rewritten as elsewhere. Any other raw SQL is refused.
 */
export const jsonArray: readonly string[] = ["(select coalesce(json_agg(agg), '[]') from ", ' as agg)']
export const jsonObject: readonly string[] = ['(select to_json(obj) from ', ' as obj)']
export const jsonBuild: readonly string[] = ['json_build_object(', ')']

/** Rewrites a raw fragment in the position of an expression. */
export function raw (node: RawNode, scope: Scope): OperationNode {
  const { sqlFragments: texts, parameters } = node
  const [only] = parameters
  if (only !== undefined && parameters.length === 1) {
    // True for sql.val(), sql.lit() and sql.ref(): one node without text around it.
    if (has(texts, ['', '']) && plain.has(only.kind)) return scope.grammar.expression(only, scope)
    if (has(texts, jsonArray)) return RawNode.create(jsonArray, [scope.grammar.subquery(only, scope)])
    if (has(texts, jsonObject)) return RawNode.create(jsonObject, [scope.grammar.subquery(only, scope)])
    if (has(texts, jsonBuild) && only.kind === 'RawNode')
      return FunctionNode.create(
        'json_build_object',
        joined(only as RawNode).map(one => scope.grammar.expression(one, scope))
      )
  }
  if (has(texts, ['merge_action()']) && parameters.length === 0)
    return FunctionNode.create('merge_action', [])
  return refuse(
    'raw SQL (sql``, sql.raw, sql.table, sql.id, sql.join)',
    'the tables that it reads cannot be seen',
    "write it with Kysely's builders, such as eb.fn('lower', ['name']), eb.ref() and eb.cast(), " +
      'or run it through a tenant of strategy rls'
  )
}

/** The nodes that `sql.val()`, `sql.lit()` and `sql.ref()` put between empty texts. */
export const plain: ReadonlySet<string> = new Set(['ValueNode', 'ReferenceNode', 'RawNode'])

/** Returns the text of a raw fragment without nodes; undefined for other nodes. */
export function rawText (node: OperationNode): string | undefined {
  if (node.kind !== 'RawNode') return undefined
  const { sqlFragments: [text, ...more], parameters } = node as RawNode
  return more.length === 0 && parameters.length === 0 && typeof text === 'string' ? text : undefined
}

/** Returns the node of `onTrue()`; undefined for any other condition. */
export function onTrue (node: OperationNode): OperationNode | undefined {
  return rawText(node) === 'true' ? valueNode(true, true) : undefined
}

/** Returns the items of `sql.join()`, which have a separator between them. */
export function joined ({ sqlFragments, parameters }: RawNode): OperationNode[] {
  const isList = sqlFragments.every(text => text === '') &&
    parameters.every((node, index) => index % 2 === 0 || rawText(node) === ', ')
  return isList
    ? parameters.filter((_, index) => index % 2 === 0)
    : refuse('raw SQL in jsonBuildObject()', 'it can hold any SQL', 'give expressions')
}

/** Whether a fragment has exactly these texts. */
export function has (texts: readonly string[], expected: readonly string[]): boolean {
  return texts.length === expected.length && expected.every((text, index) => texts[index] === text)
}
