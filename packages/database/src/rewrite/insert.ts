import { ValueListNode, ValuesNode, type ColumnNode, type InsertQueryNode, type OperationNode,
  type PrimitiveValueListNode, type ValueNode } from 'kysely'

import { column } from './expression.ts'
import { stamped } from './insert-select.ts'
import { make, nameOf, only, properties } from './checks.ts'
import { columnNode, valueNode } from './nodes.ts'
import { onConflict } from './on-conflict.ts'
import { refuse, refuseKind } from './refuse.ts'
import type { Scope } from './scope.ts'
import { returning } from './selection.ts'
import type { RewrittenTable } from './tables.ts'
import { target } from './targets.ts'
import { isOwnId } from './tenant-value.ts'
import { value } from './value.ts'
import { names } from './with.ts'

const allowedProperties = properties(
  'into',
  'columns',
  'values',
  'returning',
  'onConflict',
  'with',
  'defaultValues'
)
const valuesProperties = properties('values')
const rowProperties = properties('values')

/**
 * Rewrites `INSERT`: every row gets the tenant's id. The query may give that id itself; another
 * tenant's id is an error, never replaced silently.
 */
export function insert (node: InsertQueryNode, outer: Scope): InsertQueryNode {
  if (node.explain !== undefined)
    return refuse(
      'explain()',
      'it is no statement on rows',
      'compile the query and explain it with a login of yours'
    )
  only(node, allowedProperties)
  const [withNode, scope] = names(node.with, outer)
  const targetTable = target(node.into, scope)
  return make<InsertQueryNode>({
    kind: 'InsertQueryNode',
    with: withNode,
    into: targetTable.node as InsertQueryNode['into'],
    ...content(node, targetTable.table, scope),
    onConflict: node.onConflict && onConflict(node.onConflict, targetTable, scope),
    returning: returning(node.returning, scope),
    ...unknownElsewhere
  })
}

const contentProperties = properties('columns', 'values')

/** Rewrites the `INSERT` of a MERGE, which names no table. */
export function mergeInsert (
  node: InsertQueryNode,
  table: RewrittenTable | undefined,
  scope: Scope
): InsertQueryNode {
  only(node, contentProperties)
  return make<InsertQueryNode>({
    kind: 'InsertQueryNode',
    with: undefined,
    into: undefined,
    ...content(node, table, scope),
    onConflict: undefined,
    returning: undefined,
    ...unknownElsewhere
  })
}

interface Content {
  readonly columns: readonly ColumnNode[] | undefined
  readonly values: OperationNode | undefined
  readonly defaultValues: undefined
}

function content (
  { columns: input = [], values, defaultValues }: InsertQueryNode,
  table: RewrittenTable | undefined,
  scope: Scope
): Content {
  if (table === undefined) return refuseKind('name of WITH', 'the table to write to')
  const columns = input.map(column)
  const all = (): ColumnNode[] => [...columns, columnNode(table.column)]
  const at = columns.findIndex(one => nameOf(one.column) === table.column)
  if (defaultValues === true)
    return {
      columns: all(),
      values: ValuesNode.create([ValueListNode.create([scope.tenant.parameters[table.type]])]),
      defaultValues: undefined
    }
  if (values === undefined)
    return refuse(
      'an INSERT without values',
      'there is nothing to insert',
      'use values(), expression() or defaultValues()'
    )
  if (values.kind !== 'ValuesNode') {
    if (input.length === 0)
      return refuse(
        'an INSERT from a SELECT without columns()',
        'the place of the tenant column is not known',
        'name the columns'
      )
    if (at >= 0)
      return refuse(
        `the tenant column '${table.column}' in an INSERT from a SELECT`,
        'what it holds is not known before it runs',
        'leave the column out: it is filled in'
      )
    return {
      columns: all(),
      values: stamped(values, scope.tenant.casts[table.type], scope),
      defaultValues: undefined
    }
  }
  only(values, valuesProperties)
  const rows = (values as ValuesNode).values.map(row =>
    at < 0 ? added(row, table, scope) : checked(row, at, table, scope)
  )
  return { columns: at < 0 ? all() : columns, values: ValuesNode.create(rows), defaultValues: undefined }
}

type Row = ValuesNode['values'][number]

function added (row: Row, table: RewrittenTable, scope: Scope): ValueListNode {
  return ValueListNode.create([...cells(row, scope), scope.tenant.parameters[table.type]])
}

function checked (row: Row, at: number, table: RewrittenTable, scope: Scope): ValueListNode {
  const own = row.values[at]
  const input: unknown = row.kind === 'ValueListNode' && (own as OperationNode).kind === 'ValueNode'
    ? (own as ValueNode).value
    : own
  const isLeftOut = row.kind === 'ValueListNode' && (own as OperationNode).kind === 'DefaultInsertValueNode'
  if (!isLeftOut && !isOwnId(input, scope.tenant)) {
    return refuse(
      `a row with something else than this tenant's id in '${table.column}'`,
      "it would be another tenant's",
      'leave the column out: it is filled in'
    )
  }
  return ValueListNode.create(
    cells(row, scope).map((cell, index) => index === at ? scope.tenant.parameters[table.type] : cell)
  )
}

function cells (row: Row, scope: Scope): OperationNode[] {
  only(row, rowProperties)
  if (row.kind === 'PrimitiveValueListNode')
    return (row as PrimitiveValueListNode).values.map(one => valueNode(one, false))
  if (row.kind !== 'ValueListNode') return refuseKind(String((row as OperationNode).kind), 'a row to insert')
  return row.values.map(cell => {
    if (cell.kind === 'DefaultInsertValueNode') return { kind: 'DefaultInsertValueNode' } as OperationNode
    return cell.kind === 'ValueNode' ? value(cell) : scope.grammar.expression(cell, scope)
  })
}

// Refuses properties that only other databases have.
const unknownElsewhere = {
  explain: undefined,
  endModifiers: undefined,
  onDuplicateKey: undefined,
  orAction: undefined,
  replace: false,
  top: undefined,
  output: undefined
}
