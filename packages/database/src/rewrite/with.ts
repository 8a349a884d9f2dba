import type { CommonTableExpressionNameNode, CommonTableExpressionNode, WithNode } from 'kysely'

import { nameOf, only, properties } from './checks.ts'
import { columnNode, tableNode } from './nodes.ts'
import { refuse } from './refuse.ts'
import { withNames, type Scope } from './scope.ts'

const withProperties = properties('expressions', 'recursive')
const allowedProperties = properties('name', 'materialized', 'expression')
const nameProperties = properties('table', 'columns')

/** Returns the rewritten WITH, and the scope of its statement, in which its names are visible. */
export function names (node: WithNode | undefined, scope: Scope): readonly [WithNode | undefined, Scope] {
  if (node === undefined) return [undefined, scope]
  only(node, withProperties)
  const isRecursive = node.recursive === true
  const all = node.expressions.map(expression => nameOfBody(expression))
  const expressions = node.expressions.map((expression, index) =>
    body(expression, all[index] ?? '', withNames(scope, scope.rules.namesInBody(all, index, isRecursive)))
  )
  return [{ kind: 'WithNode', expressions, ...(isRecursive && { recursive: true }) }, withNames(scope, all)]
}

function nameOfBody (node: CommonTableExpressionNode): string {
  only(node, allowedProperties)
  only(node.name, nameProperties)
  const { schema, identifier } = node.name.table.table
  if (schema !== undefined)
    return refuse('a name of WITH in a schema', 'PostgreSQL knows no such thing', 'give the name alone')
  return nameOf(identifier)
}

function body (
  { name, materialized, expression }: CommonTableExpressionNode,
  text: string,
  scope: Scope
): CommonTableExpressionNode {
  return {
    kind: 'CommonTableExpressionNode',
    name: {
      kind: 'CommonTableExpressionNameNode',
      table: tableNode(text),
      ...(name.columns !== undefined &&
        { columns: name.columns.map(({ column }) => columnNode(nameOf(column))) })
    } satisfies CommonTableExpressionNameNode,
    ...(typeof materialized === 'boolean' && { materialized }),
    expression: scope.grammar.body(expression, scope)
  }
}
