import { PrimitiveValueListNode, type OperationNode, type ValueNode } from 'kysely'

import { only, properties } from './checks.ts'
import { valueNode } from './nodes.ts'
import { refuse, refuseKind } from './refuse.ts'

const known = properties('value', 'immediate')
const listProperties = properties('values')

/** A value: a parameter, or one of the few that may be written into the text. */
export function value (node: OperationNode): ValueNode {
  if (node.kind !== 'ValueNode') return refuseKind(node.kind, 'a value')
  only(node, known)
  const { value: given, immediate } = node as ValueNode
  return immediate ? valueNode(literal(given), true) : valueNode(given, false)
}

/** Values that are all parameters, as `in ($1, $2)` has them. */
export function primitiveValues (node: PrimitiveValueListNode): PrimitiveValueListNode {
  only(node, listProperties)
  return PrimitiveValueListNode.create([...node.values])
}

function literal (given: unknown): string | number | bigint | boolean | null {
  if (given === null || typeof given === 'boolean' || typeof given === 'bigint') return given
  if (typeof given === 'number' && Number.isFinite(given)) return given
  if (given instanceof Date) return new Date(given).toISOString()
  // Where standard_conforming_strings is off, a backslash would take the closing quote with it.
  if (typeof given === 'string' && !given.includes('\\') && !given.includes('\0')) return given
  return refuse(
    'this literal (sql.lit, or a value of ImmediateValuePlugin)',
    'it cannot be written into the text of a query safely',
    'give it as a parameter: sql.val(), eb.val()'
  )
}

/** Whether a value is printed with a minus in front of it. */
export function isNegative (node: OperationNode): boolean {
  if (node.kind !== 'ValueNode') return false
  const { value: given, immediate } = node as ValueNode
  return immediate === true && (typeof given === 'number' || typeof given === 'bigint') &&
    (given < 0 || Object.is(given, -0))
}
