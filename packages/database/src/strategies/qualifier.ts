import { IdentifierNode, ListNode, AliasNode, OperationNodeTransformer, TableNode, type DeleteQueryNode, type InsertQueryNode, type MergeQueryNode, type OperationNode, type QueryId, type SelectQueryNode, type UpdateQueryNode, type WithNode } from 'kysely'

import { QueryRefusedError } from '../errors.ts'

/** Where the tables of one tenant are. */
export interface SchemaTables {
  /** The tenant's own schema. */
  readonly own: string
  /** The names of the shared tables. */
  readonly shared: ReadonlySet<string>
  /** The schema of the shared tables. */
  readonly sharedSchema: string
}

/**
 * Writes the schema before each table of a query: the tenant's own, and for shared tables theirs. A text then means
 * the same tables wherever it is prepared.
 *
 * It decides what a name means, not what a tenant may read: raw SQL passes through it, and the role of the schema
 * bounds both.
 */
export class SchemaQualifier extends OperationNodeTransformer {
  readonly #tables: SchemaTables
  /** The tables that stand where a table is read or written; everywhere else a name means one of these. */
  readonly #places = new Map<TableNode, 'source' | 'target'>()
  /** The names of WITH that are visible, and those that were before the query that is being transformed. */
  #names: ReadonlySet<string> = new Set()
  #outer: ReadonlySet<string> = new Set()

  constructor (tables: SchemaTables) {
    super()
    this.#tables = tables
  }

  protected override transformNodeImpl<T extends OperationNode> (node: T, queryId?: QueryId): T {
    const { with: own } = node as { readonly with?: WithNode }
    this.#findPlaces(node)
    if (own === undefined || own.kind !== 'WithNode') return super.transformNodeImpl(node, queryId)
    const [outer, names] = [this.#outer, this.#names]
    this.#outer = names
    this.#names = new Set([...names, ...own.expressions.map(nameOf)])
    try {
      return super.transformNodeImpl(node, queryId)
    } finally {
      this.#outer = outer
      this.#names = names
    }
  }

  // In a WITH that is not recursive, each body sees the names before it and not its own.
  protected override transformWith (node: WithNode, queryId?: QueryId): WithNode {
    if (node.recursive) return super.transformWith(node, queryId)
    const all = this.#names
    const visible = new Set(this.#outer)
    const expressions = node.expressions.map(expression => {
      this.#names = new Set(visible)
      visible.add(nameOf(expression))
      return this.transformNode(expression, queryId)
    })
    this.#names = all
    return { ...node, expressions }
  }

  protected override transformTable (node: TableNode): TableNode {
    const { schema, identifier: { name } } = node.table
    if (schema !== undefined) this.#assertReachable(schema.name, name)
    const place = this.#places.get(node)
    if (schema !== undefined || place === undefined) return node
    // The target of a statement that writes never means a name of WITH.
    if (place === 'source' && this.#names.has(name)) return node
    const { own, shared, sharedSchema } = this.#tables
    return { ...node, table: { ...node.table, schema: IdentifierNode.create(shared.has(name) ? sharedSchema : own) } }
  }

  #assertReachable (schema: string, table: string): void {
    const { own, shared, sharedSchema } = this.#tables
    if (schema === own || (schema === sharedSchema && shared.has(table))) return
    throw new QueryRefusedError(`This tenant's tables are in a schema of its own, got table '${table}' of schema '${schema}': leave withSchema() and the schema out`)
  }

  #findPlaces (node: OperationNode): void {
    switch (node.kind) {
      case 'SelectQueryNode': {
        const { from, joins } = node as SelectQueryNode
        this.#mark('source', ...from?.froms ?? [], ...joins?.map(({ table }) => table) ?? [])
        break
      }
      case 'InsertQueryNode': {
        this.#mark('target', (node as InsertQueryNode).into)
        break
      }
      case 'UpdateQueryNode': {
        const { table, from, joins } = node as UpdateQueryNode
        this.#mark('target', table)
        this.#mark('source', ...from?.froms ?? [], ...joins?.map(join => join.table) ?? [])
        break
      }
      case 'DeleteQueryNode': {
        const { from, using, joins } = node as DeleteQueryNode
        this.#mark('target', ...from.froms)
        this.#mark('source', ...using?.tables ?? [], ...joins?.map(({ table }) => table) ?? [])
        break
      }
      case 'MergeQueryNode': {
        const { into, using } = node as MergeQueryNode
        this.#mark('target', into)
        this.#mark('source', using?.table)
        break
      }
    }
  }

  #mark (place: 'source' | 'target', ...nodes: readonly (OperationNode | undefined)[]): void {
    for (const node of nodes) {
      if (node === undefined) continue
      if (TableNode.is(node)) this.#places.set(node, place)
      else if (AliasNode.is(node)) this.#mark(place, node.node)
      else if (ListNode.is(node)) this.#mark(place, ...node.items)
    }
  }
}

function nameOf ({ name }: WithNode['expressions'][number]): string {
  return name.table.table.identifier.name
}
