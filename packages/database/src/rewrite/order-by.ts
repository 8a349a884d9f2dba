import { CollateNode, OrderByNode, RawNode, type OrderByItemNode } from 'kysely'

import { identifier, make, only, properties } from './checks.ts'
import { rawText } from './raw.ts'
import { refuse, refuseKind } from './refuse.ts'
import type { Scope } from './scope.ts'

const allowedProperties = properties('items')
const itemProperties = properties('orderBy', 'direction', 'nulls', 'collation')

/** Rewrites `ORDER BY` of a statement, an aggregate or a window. */
export function orderBy (node: OrderByNode, scope: Scope): OrderByNode {
  only(node, allowedProperties)
  return OrderByNode.create(node.items.map(one => item(one, scope)))
}

function item (node: OrderByItemNode, scope: Scope): OrderByItemNode {
  only(node, itemProperties)
  const { nulls, direction, collation } = node
  if (nulls !== undefined && nulls !== 'first' && nulls !== 'last')
    return refuseKind(String(nulls), 'the place of nulls')
  return make<OrderByItemNode>({
    kind: 'OrderByItemNode',
    orderBy: scope.grammar.expression(node.orderBy, scope),
    collation: collation && CollateNode.create(identifier(collation.collation, 'a collation').name),
    direction: direction && order(rawText(direction)),
    nulls
  })
}

function order (text: string | undefined): RawNode {
  if (text !== 'asc' && text !== 'desc')
    return refuse(
      'raw SQL as a direction of ORDER BY',
      'it can hold any SQL',
      "give 'asc', 'desc', or a callback such as (ob) => ob.desc().nullsLast()"
    )
  return RawNode.createWithSql(text)
}
