import type { IdentifierNode, OperationNode } from 'kysely'

import { identifierNode } from './nodes.ts'
import { refuse } from './refuse.ts'

/** The properties of a node. An absent property may also be undefined. */
type Properties<Node extends OperationNode> = { readonly [Name in keyof Node]: Node[Name] | undefined }

/** Returns a node with these properties. */
export function make<Node extends OperationNode> (properties: Properties<Node>): Node {
  return properties as unknown as Node
}

/** Returns the names of the properties that a kind of node may have. */
export function properties (...names: string[]): ReadonlySet<string> {
  return new Set(['kind', ...names])
}

/**
 * Refuses a node with properties that its position in the grammar does not read. Otherwise a
 * property of a later Kysely version or another database would be dropped, which changes the
 * query's meaning.
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

/** Longest name. PostgreSQL truncates longer names, so two of them could become equal. */
const maxNameBytes = 63

/** Returns a copy of an identifier, which Kysely quotes. */
export function identifier (node: OperationNode, position: string): IdentifierNode {
  if (node.kind !== 'IdentifierNode')
    return refuse(`raw SQL as ${position}`, 'what it names cannot be seen', 'give a plain name')
  return identifierNode(nameOf(node as IdentifierNode))
}

/** Returns the name in an identifier. */
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
