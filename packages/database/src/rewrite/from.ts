import type { AliasNode, JoinNode, JoinType, OnNode, OperationNode, TableNode } from 'kysely'

import { callInFrom } from './function.ts'
import { identifier, nameOf, only, properties } from './checks.ts'
import { aliasNode, identifierNode, joinNode } from './nodes.ts'
import { conjunction, predicate, wrapped } from './predicate.ts'
import { onTrue } from './raw.ts'
import { refuse, refuseKind } from './refuse.ts'
import { resolve, type Scope } from './scope.ts'
import type { RewrittenTable } from './tables.ts'

/**
 * The rewritten items that a statement reads, and the predicates that must come first in its WHERE.
 */
interface Relations {
  readonly items: readonly OperationNode[]
  readonly joins: readonly JoinNode[]
  readonly where: readonly OperationNode[]
}

/** One item of FROM, of a join or of USING. */
interface Item {
  readonly node: OperationNode
  /** The tenant table and its name in the query; undefined for an item that needs no predicate. */
  readonly own:
    | { readonly table: RewrittenTable; readonly node: TableNode; readonly name: string }
    | undefined
}

const joinProperties = properties('joinType', 'table', 'on')
const onProperties = properties('on')
const aliasProperties = properties('node', 'alias')
const joinTypes: ReadonlySet<JoinType> = new Set(['InnerJoin', 'LeftJoin', 'RightJoin', 'FullJoin',
  'CrossJoin', 'LateralInnerJoin', 'LateralLeftJoin', 'LateralCrossJoin'])

/** Returns the items of FROM or USING, and the joins, which follow the last item. */
export function fromRelations (
  froms: readonly OperationNode[],
  joins: readonly JoinNode[] | undefined,
  scope: Scope
): Relations {
  const listed = froms.map(node => item(node, scope))
  if (joins === undefined || joins.length === 0)
    return {
      items: listed.map(({ node }) => node),
      joins: [],
      where: listed.flatMap(one => predicates(one, scope))
    }
  const joined = joins.map(join => joinedItem(join, scope))
  const chain = [...listed.slice(-1), ...joined]
  const places = scope.rules.place(joins.map(({ joinType }) => joinType))
  const ons: OperationNode[][] = joins.map(() => [])
  const where = listed.slice(0, -1).flatMap(one => predicates(one, scope))
  const nodes = chain.map((one, index) => {
    const place = places[index] ?? 'where'
    if (place === 'wrap') return wrap(one, scope)
    if (place === 'where') where.push(...predicates(one, scope))
    else ons[place]?.push(...predicates(one, scope))
    return one.node
  })
  return {
    items: [...listed.slice(0, -1).map(({ node }) => node), ...nodes.slice(0, 1)],
    joins: joins.map((join, index) => rebuild(join, nodes[index + 1], ons[index] ?? [], scope)),
    where
  }
}

/**
 * Returns the source of a MERGE. Its predicate is always inside, because both sides decide what
 * happens to a row.
 */
export function fromSource (join: JoinNode, scope: Scope): OperationNode {
  only(join, joinProperties)
  return wrap(item(join.table, scope), scope)
}

/** Returns the rewritten condition of a join or a MERGE. */
export function onCondition (on: OnNode | undefined, scope: Scope): OperationNode | undefined {
  if (on === undefined) return undefined
  only(on, onProperties)
  return onTrue(on.on) ?? scope.grammar.expression(on.on, scope)
}

function joinedItem (join: JoinNode, scope: Scope): Item {
  only(join, joinProperties)
  if (!joinTypes.has(join.joinType))
    return refuse(
      `the join '${String(join.joinType)}'`,
      'PostgreSQL has none',
      'use an inner, left, right, full, cross or lateral join'
    )
  return item(join.table, scope)
}

function rebuild (
  { joinType, on }: JoinNode,
  table: OperationNode | undefined,
  predicates: readonly OperationNode[],
  scope: Scope
): JoinNode {
  const condition = conjunction(predicates, onCondition(on, scope))
  return joinNode(joinType, table as OperationNode, condition)
}

function item (node: OperationNode, scope: Scope): Item {
  if (node.kind === 'TableNode') return table(node as TableNode, undefined, scope)
  if (node.kind !== 'AliasNode') return refuseItem(node)
  const { node: inner, alias } = node as AliasNode
  only(node, aliasProperties)
  const name = identifier(alias, 'the name of an item of FROM')
  if (inner.kind === 'TableNode') return table(inner as TableNode, nameOf(name), scope)
  if (inner.kind === 'SelectQueryNode' || inner.kind === 'ParensNode')
    return { node: aliasNode(scope.grammar.subquery(inner, scope), name), own: undefined }
  if (inner.kind === 'FunctionNode')
    return { node: aliasNode(callInFrom(inner, scope), name), own: undefined }
  return refuseItem(inner)
}

function refuseItem ({ kind }: OperationNode): never {
  if (kind === 'RawNode')
    return refuse(
      'raw SQL in FROM or a join (sql``, sql.table, sql.ref, sql.id)',
      'the table that it names cannot be seen',
      "give the table's name as text, or a sub-query"
    )
  if (kind === 'ReferenceNode')
    return refuse(
      'a column in FROM or a join (eb.ref)',
      'it would stand for a table',
      "give the table's name as text"
    )
  return refuseKind(kind, 'an item of FROM')
}

function table (input: TableNode, alias: string | undefined, scope: Scope): Item {
  const resolved = resolve(input, scope)
  const node = alias === undefined ? resolved.node : aliasNode(resolved.node, identifierNode(alias))
  if (resolved.kind !== 'tenant') return { node, own: undefined }
  return { node, own: { table: resolved.table, node: resolved.node, name: alias ?? resolved.table.name } }
}

function predicates ({ own }: Item, scope: Scope): readonly OperationNode[] {
  return own === undefined ? [] : [predicate(own.table, own.name, scope)]
}

function wrap ({ node, own }: Item, scope: Scope): OperationNode {
  return own === undefined ? node : aliasNode(wrapped(own.table, own.node, scope), identifierNode(own.name))
}
