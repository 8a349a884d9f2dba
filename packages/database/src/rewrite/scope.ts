import type { OperationNode, TableNode } from 'kysely'

import { nameOf, only, properties } from './checks.ts'
import { tableNode } from './nodes.ts'
import { refuse } from './refuse.ts'
import { postgresRules, type Rules } from './rules.ts'
import type { RowTables, RewrittenTable } from './tables.ts'
import { fitsColumn, type TenantValue } from './tenant-value.ts'

/**
 * The recursive positions of the grammar. Passed in the scope, because their files import each
 * other's functions.
 */
export interface Grammar {
  expression(node: OperationNode, scope: Scope): OperationNode
  /** Rewrites a SELECT in any position, with or without parentheses. */
  subquery(node: OperationNode, scope: Scope): OperationNode
  /** Rewrites the body of a WITH: a SELECT, or a statement that writes. */
  body(node: OperationNode, scope: Scope): OperationNode
}

/** The context of a position: the tenant, the tables, and the visible names of WITH. Immutable. */
export interface Scope {
  readonly tenant: TenantValue
  readonly tables: RowTables
  /** The functions that may be called, in lower case. */
  readonly functions: ReadonlySet<string>
  readonly rules: Rules
  readonly grammar: Grammar
  /** The names of WITH that are visible here. */
  readonly names: ReadonlySet<string>
}

/** The meaning of a table's name, and the unambiguous node for it. */
type Resolved =
  | { readonly kind: 'name'; readonly node: TableNode }
  | { readonly kind: 'shared'; readonly node: TableNode }
  | { readonly kind: 'tenant'; readonly node: TableNode; readonly table: RewrittenTable }

/** Returns the scope of a tenant's statement, before any WITH. */
export function rootScope (
  { rules = postgresRules, ...scope }: Omit<Scope, 'rules' | 'names'> & { rules?: Rules }
): Scope {
  return { ...scope, rules, names: new Set() }
}

/** Returns the scope in which these names of a WITH are visible, too. */
export function withNames (scope: Scope, names: readonly string[]): Scope {
  return names.length === 0 ? scope : { ...scope, names: new Set([...scope.names, ...names]) }
}

/**
 * Returns the meaning of a name in FROM: a visible name of WITH, or a listed table. A listed table
 * is qualified with its schema, so that its name cannot mean another relation.
 */
export function resolve (node: TableNode, scope: Scope): Resolved {
  const { schema, name } = nameParts(node)
  return schema === undefined && scope.names.has(name)
    ? { kind: 'name', node: tableNode(name) }
    : resolveTable(schema, name, scope)
}

/** Returns the meaning of a write's target, which is never a name of WITH. */
export function resolveTarget (node: TableNode, scope: Scope): Resolved {
  if (scope.rules.targetSeesNames) return resolve(node, scope)
  const { schema, name } = nameParts(node)
  return resolveTable(schema, name, scope)
}

function resolveTable (schema: string | undefined, name: string, { tables, tenant }: Scope): Resolved {
  if (schema !== undefined && schema !== tables.schema) {
    return refuse(
      `schema '${schema}'`,
      'the tables of tenants are in another',
      'leave withSchema() and the schema out'
    )
  }
  const node = (): TableNode => tableNode(name, tables.schema)
  const table = tables.tenant.get(name)
  if (table !== undefined) {
    if (!fitsColumn(tenant.id, table.type)) {
      return refuse(
        `table '${name}'`,
        `this tenant's id is no ${table.type} as the database prints it, and could be taken for another's`,
        'give the tenant an id that fits its tables'
      )
    }
    return { kind: 'tenant', node: node(), table }
  }
  if (tables.shared.has(name)) return { kind: 'shared', node: node() }
  return refuse(
    `table '${name}'`,
    'it is in no list, or was not there when the application started',
    'add it to options.tables.tenant or options.tables.shared'
  )
}

const tableProperties = properties('table')
const nameProperties = properties('schema', 'identifier')

function nameParts (node: TableNode): { schema: string | undefined; name: string } {
  only(node, tableProperties)
  const { table } = node
  only(table, nameProperties)
  return { schema: table.schema && nameOf(table.schema), name: nameOf(table.identifier) }
}

/**
 * Returns a table's name as part of a column's name, or for a whole row. It can only mean an item
 * of FROM, so nothing is looked up. The schema is dropped, because a wrapped item has none.
 */
export function itemName (node: TableNode, { tables }: Scope): TableNode {
  const { schema, name } = nameParts(node)
  if (schema !== undefined && schema !== tables.schema)
    return refuse(
      `schema '${schema}'`,
      'the tables of tenants are in another',
      'leave withSchema() and the schema out'
    )
  return tableNode(name)
}
