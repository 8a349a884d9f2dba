import type { IdentifierNode, OperationNode } from 'kysely'

import { identifierNode } from './nodes.ts'
import { refuse } from './refuse.ts'

/** The properties of a node, where an absent one may also be given as undefined. */
type Properties<Node extends OperationNode> = { readonly [Name in keyof Node]: Node[Name] | undefined }

/** A node of these properties. */
export function make<Node extends OperationNode> (properties: Properties<Node>): Node {
  return properties as unknown as Node
}

/** The names of the properties that a kind of node may have. */
export function properties (...names: string[]): ReadonlySet<string> {
  return new Set(['kind', ...names])
}

/**
 * Holds a node to the properties that its place in the grammar reads. A property that a later
 * Kysely adds, or that belongs to another database, would be dropped without it, and change what
 * the query means.
 */
export function only (node: OperationNode, allowedProperties: ReadonlySet<string>): void {
  for (const name in node) {
    if (!allowedProperties.has(name) && isGiven((node as unknown as Record<string, unknown>)[name])) {
      refuse(`'${name}' of a ${node.kind}`, 'it is not of PostgreSQL, or not known here', 'leave it out')
    }
  }
}

function isGiven (value: unknown): boolean {
  return value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0)
}

/** PostgreSQL cuts longer names, and two cut names can be one. */
const maxNameBytes = 63

/** A copy of an identifier, which Kysely quotes. */
export function identifier (node: OperationNode, position: string): IdentifierNode {
  if (node.kind !== 'IdentifierNode')
    return refuse(`raw SQL as ${position}`, 'what it names cannot be seen', 'give a plain name')
  return identifierNode(nameOf(node as IdentifierNode))
}

/** The name that an identifier holds. */
export function nameOf ({ name }: IdentifierNode): string {
  if (typeof name !== 'string' || name === '' || name.includes('\0'))
    return refuse('a name that is empty or no text', 'it names nothing', 'give a plain name')
  if (name.length > 20 && Buffer.byteLength(name) > maxNameBytes) {
    return refuse(
      'a name of more than 63 bytes',
      'PostgreSQL would cut it to the name of something else',
      'give a shorter one'
    )
  }
  return name
}
