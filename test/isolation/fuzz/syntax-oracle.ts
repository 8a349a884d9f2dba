// A second judge, which never runs anything: PostgreSQL's own parser reads the SQL, and each table
// must carry its predicate.
import { loadModule, parseSync } from 'libpg-query'

await loadModule()

/** A node of the parse tree, as plain JSON. */
type Tree = Readonly<Record<string, unknown>>

/**
 * What is wrong with a statement: a reference to a tenant's table without its predicate; undefined
 * where there is none.
 */
export function unscoped (sql: string, columns: Readonly<Record<string, string>>): string | undefined {
  const problems: string[] = []
  visit(parseSync(sql) as unknown, problems, columns, new Set())
  return problems[0]
}

function visit (
  value: unknown,
  problems: string[],
  columns: Readonly<Record<string, string>>,
  names: ReadonlySet<string>
): void {
  if (Array.isArray(value))
    return value.forEach(one => {
      visit(one, problems, columns, names)
    })
  if (!isTree(value)) return
  const bodies = (inner(value, 'withClause')?.ctes ?? []) as readonly Tree[]
  const all = bodies.map(body => String(inner(body, 'CommonTableExpr')?.ctename))
  const isRecursive = inner(value, 'withClause')?.recursive === true
  for (const [index, body] of bodies.entries())
    visit(body, problems, columns, new Set([...names, ...(isRecursive ? all : all.slice(0, index))]))
  const visible = new Set([...names, ...all])
  checkStatement(value, problems, columns, visible)
  for (const [key, child] of Object.entries(value))
    if (key !== 'withClause') visit(child, problems, columns, visible)
}

function checkStatement (
  statement: Tree,
  problems: string[],
  columns: Readonly<Record<string, string>>,
  names: ReadonlySet<string>
): void {
  const target = inner(statement, 'relation')
  if (target !== undefined && 'relname' in target) checkTarget(statement, target, problems, columns)
  const items = [...list(statement.fromClause), ...list(statement.usingClause),
    ...('sourceRelation' in statement ? [statement.sourceRelation as Tree] : [])]
  for (const item of items) checkItem(item, conjuncts(statement.whereClause), problems, columns, names)
}

// What may drop a row of the item's: `holds` are conditions that every row of the result passed.
function checkItem (
  item: Tree,
  holds: readonly Tree[],
  problems: string[],
  columns: Readonly<Record<string, string>>,
  names: ReadonlySet<string>
): void {
  const join = inner(item, 'JoinExpr')
  if (join !== undefined) {
    const on = conjuncts(join.quals)
    const isOn = {
      left: join.jointype === 'JOIN_INNER' || join.jointype === 'JOIN_RIGHT',
      right: join.jointype === 'JOIN_INNER' || join.jointype === 'JOIN_LEFT'
    }
    // Above an outer join, a condition in WHERE would also drop the rows that the join filled with
    // NULL.
    const isAbove = {
      left: join.jointype === 'JOIN_INNER' || join.jointype === 'JOIN_LEFT',
      right: join.jointype === 'JOIN_INNER' || join.jointype === 'JOIN_RIGHT'
    }
    checkItem(
      join.larg as Tree,
      [...(isAbove.left ? holds : []), ...(isOn.left ? on : [])],
      problems,
      columns,
      names
    )
    checkItem(
      join.rarg as Tree,
      [...(isAbove.right ? holds : []), ...(isOn.right ? on : [])],
      problems,
      columns,
      names
    )
    return
  }
  const table = inner(item, 'RangeVar')
  if (table === undefined) return
  const name = String(table.relname)
  if (table.schemaname === undefined) {
    if (!names.has(name)) problems.push(`${name} has no schema and is no name of WITH`)
    return
  }
  const column = columns[name]
  if (column !== undefined && !holds.some(one => isPredicate(one, aliasOf(table), column)))
    problems.push(`${aliasOf(table)} is read without its predicate`)
}

function checkTarget (
  statement: Tree,
  table: Tree,
  problems: string[],
  columns: Readonly<Record<string, string>>
): void {
  const column = columns[String(table.relname)]
  if (column === undefined || table.schemaname !== 'public')
    problems.push(`${String(table.relname)} is written to`)
  const isScoped = (condition: unknown): boolean =>
    conjuncts(condition).some(one => isPredicate(one, aliasOf(table), column ?? ''))
  if ('cols' in statement) {
    const at = list(statement.cols).findIndex(one => inner(one, 'ResTarget')?.name === column)
    if (at < 0) problems.push('an INSERT has no tenant')
    const conflict = inner(statement, 'onConflictClause')
    if (conflict?.action === 'ONCONFLICT_UPDATE' && !isScoped(conflict.whereClause))
      problems.push('ON CONFLICT updates without its predicate')
    return
  }
  if (!('mergeWhenClauses' in statement)) {
    if (!isScoped(statement.whereClause)) problems.push('a table is written to without its predicate')
    return
  }
  if (!isScoped(statement.joinCondition)) problems.push('a MERGE has no predicate in ON')
  for (const one of list(statement.mergeWhenClauses)) {
    const when = inner(one, 'MergeWhenClause')
    if (when?.matchKind === 'MERGE_WHEN_NOT_MATCHED_BY_SOURCE' && !isScoped(when.condition))
      problems.push('a MERGE has no predicate in WHEN')
    if (
      when?.commandType === 'CMD_INSERT' &&
      !list(when.targetList).some(target => inner(target, 'ResTarget')?.name === column)
    ) problems.push('a MERGE inserts without a tenant')
  }
}

// alias.column = $n
function isPredicate (node: Tree, alias: string, column: string): boolean {
  const operation = inner(node, 'A_Expr')
  if (operation?.kind !== 'AEXPR_OP' || JSON.stringify(operation.name) !== '[{"String":{"sval":"="}}]')
    return false
  const fields = list(inner(operation.lexpr as Tree, 'ColumnRef')?.fields).map(field =>
    inner(field, 'String')?.sval
  )
  return fields.length === 2 && fields[0] === alias && fields[1] === column &&
    'ParamRef' in (operation.rexpr as Tree)
}

function conjuncts (condition: unknown): readonly Tree[] {
  if (!isTree(condition)) return []
  const both = inner(condition, 'BoolExpr')
  return both?.boolop === 'AND_EXPR' ? list(both.args).flatMap(conjuncts) : [condition]
}

function aliasOf (table: Tree): string {
  return String(inner(table, 'alias')?.aliasname ?? table.relname)
}

function inner (tree: Tree, name: string): Tree | undefined {
  const value = tree[name]
  return isTree(value) ? value : undefined
}

function list (value: unknown): readonly Tree[] {
  return Array.isArray(value) ? value.filter(isTree) : []
}

function isTree (value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
