import { IdentifierNode, ListNode, AliasNode, OperationNodeTransformer, TableNode, type DeleteQueryNode,
  type InsertQueryNode, type MergeQueryNode, type OperationNode, type QueryId, type SelectQueryNode,
  type UpdateQueryNode, type WithNode } from 'kysely'

import { QueryRefusedError } from '../options/errors.ts'

/** The reference tables, which all tenants read. */
interface SharedTables {
  readonly names: ReadonlySet<string>
  readonly schema: string
}

/**
 * Writes the schema before each table of a query: the tenant's own, or that of the reference
 * tables. So a text means the same tables wherever it is prepared. Raw SQL passes unchanged; the
 * role limits what a tenant may read. One object serves a shard, because creating one costs more
 * than its work.
 */
export class SchemaQualifier extends OperationNodeTransformer {
  readonly #shared: SharedTables
  /**
   * The nodes at which a table is read or written. Elsewhere a name refers to one of these tables.
   */
  #places = new Map<TableNode, 'source' | 'target'>()
  #own = ''
  /** The visible names of WITH, and those visible outside the query that is being transformed. */
  #names: ReadonlySet<string> = new Set()
  #outer: ReadonlySet<string> = new Set()

  constructor (shared: SharedTables) {
    super()
    this.#shared = shared
  }

  /**
   * Returns the query with the schema before each table. `own` is the tenant's schema.
   *
   * @throws FST_TENANCY_QUERY_REFUSED for a table of another schema
   */
  qualify<T extends OperationNode> (node: T, own: string, queryId: QueryId): T {
    this.#own = own
    this.#places = new Map()
    // A query that was refused part-way left its path in the stack.
    this.nodeStack.length = 0
    return this.transformNode(node, queryId)
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

  // In a WITH that is not recursive, each body sees only the names before it.
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
    // The target of a write never refers to a name of WITH.
    if (place === 'source' && this.#names.has(name)) return node
    const schemaName = this.#shared.names.has(name) ? this.#shared.schema : this.#own
    return { ...node, table: { ...node.table, schema: IdentifierNode.create(schemaName) } }
  }

  #assertReachable (schema: string, table: string): void {
    if (schema === this.#own || (schema === this.#shared.schema && this.#shared.names.has(table))) return
    throw new QueryRefusedError(
      `This tenant's tables are in a schema of its own, got table '${table}' of schema '${schema}': ` +
        'leave withSchema() and the schema out'
    )
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
