import { PrimitiveValueListNode, type OperationNode, type ValueNode } from 'kysely'

import { only, properties } from './checks.ts'
import { valueNode } from './nodes.ts'
import { refuse, refuseKind } from './refuse.ts'

const allowedProperties = properties('value', 'immediate')
const listProperties = properties('values')

/** Rewrites a value: a parameter, or a literal of an allowed type. */
export function value (node: OperationNode): ValueNode {
  if (node.kind !== 'ValueNode') return refuseKind(node.kind, 'a value')
  only(node, allowedProperties)
  const { value: input, immediate } = node as ValueNode
  return immediate ? valueNode(literal(input), true) : valueNode(input, false)
}

/** Rewrites a list of parameters, as in `in ($1, $2)`. */
export function primitiveValues (node: PrimitiveValueListNode): PrimitiveValueListNode {
  only(node, listProperties)
  return PrimitiveValueListNode.create([...node.values])
}

function literal (input: unknown): string | number | bigint | boolean | null {
  if (input === null || typeof input === 'boolean' || typeof input === 'bigint') return input
  if (typeof input === 'number' && Number.isFinite(input)) return input
  if (input instanceof Date) return new Date(input).toISOString()
  // Refused, because a backslash escapes the closing quote if standard_conforming_strings is off.
  if (typeof input === 'string' && !input.includes('\\') && !input.includes('\0')) return input
  return refuse(
    'this literal (sql.lit, or a value of ImmediateValuePlugin)',
    'it cannot be written into the text of a query safely',
    'give it as a parameter: sql.val(), eb.val()'
  )
}

/** Whether a value is printed with a leading minus. */
export function isNegative (node: OperationNode): boolean {
  if (node.kind !== 'ValueNode') return false
  const { value: input, immediate } = node as ValueNode
  return immediate === true && (typeof input === 'number' || typeof input === 'bigint') &&
    (input < 0 || Object.is(input, -0))
}
