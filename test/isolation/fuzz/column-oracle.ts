// A judge of column references that shares nothing with ours: PostgreSQL's own parser reads the
// SQL, and each `item.name` is looked up among the columns of its item.
import { loadModule, parseSync } from 'libpg-query'

await loadModule()

type Tree = Readonly<Record<string, unknown>>

interface Item {
  readonly name: string
  readonly columns: ReadonlySet<string>
}

interface Scope {
  readonly items: readonly Item[]
  readonly outer: Scope | undefined
  readonly names: ReadonlyMap<string, ReadonlySet<string>>
}

/**
 * The first reference `item.name` of a statement that is no column of its item; undefined where
 * there is none.
 */
export function callInDisguise (
  sql: string,
  tables: Readonly<Record<string, readonly string[]>>
): string | undefined {
  const oracle = new Oracle(tables)
  for (const { stmt } of (parseSync(sql) as { stmts: { stmt: Tree }[] }).stmts)
    oracle.statement(stmt, { items: [], outer: undefined, names: new Map() })
  return oracle.found
}

class Oracle {
  found: string | undefined
  readonly #tables: Readonly<Record<string, readonly string[]>>

  constructor (tables: Readonly<Record<string, readonly string[]>>) {
    this.#tables = tables
  }

  /** Visits a statement, and returns the columns of its rows. */
  statement (wrapped: Tree, outer: Scope): ReadonlySet<string> {
    const [kind = '', node] = Object.entries(wrapped)[0] as [string, Tree]
    const scope: Scope = { items: [], outer, names: this.#names(node, outer) }
    if (kind === 'SelectStmt') return this.#select(node, scope)
    const target = inner(node, 'relation')
    const items: Item[] = target === undefined
      ? []
      : [{ name: aliasOf(target), columns: new Set(this.#tables[String(target.relname)]) }]
    if (node.selectStmt !== undefined) this.statement(node.selectStmt as Tree, { ...scope, outer: undefined })
    for (
      const item of [...list(node.fromClause), ...list(node.usingClause),
        ...(node.sourceRelation === undefined ? [] : [node.sourceRelation as Tree])]
    ) this.#item(item, scope, items)
    const inside: Scope = { ...scope, items }
    for (
      const key of ['targetList', 'whereClause', 'joinCondition', 'mergeWhenClauses', 'returningList',
        'returningClause']
    ) this.#expressions(node[key], inside)
    const [first] = items
    if (first !== undefined)
      this.#expressions(node.onConflictClause, { ...scope, items: [first, { ...first, name: 'excluded' }] })
    return this.#outputs(list(node.returningList ?? inner(node, 'returningClause')?.exprs), items)
  }

  #select (node: Tree, scope: Scope): ReadonlySet<string> {
    if (node.larg !== undefined) {
      const left = this.statement({ SelectStmt: node.larg as Tree }, scope)
      this.statement({ SelectStmt: node.rarg as Tree }, scope)
      return left
    }
    const items: Item[] = []
    for (const item of list(node.fromClause)) this.#item(item, scope, items)
    const inside: Scope = { ...scope, items }
    for (const [key, value] of Object.entries(node))
      if (!['fromClause', 'withClause'].includes(key)) this.#expressions(value, inside)
    return this.#outputs(list(node.targetList), items)
  }

  #names (node: Tree, outer: Scope): ReadonlyMap<string, ReadonlySet<string>> {
    const names = new Map(outer.names)
    const clause = inner(node, 'withClause')
    for (const wrapped of list(clause?.ctes)) {
      const body = wrapped.CommonTableExpr as Tree
      const name = String(body.ctename)
      // What a recursive body selects first is what it returns.
      if (clause?.recursive === true) {
        names.set(name, new Set())
        names.set(
          name,
          new Oracle(this.#tables).statement(firstBranch(body.ctequery as Tree), { ...outer, names })
        )
      }
      names.set(name, this.statement(body.ctequery as Tree, { ...outer, names: new Map(names) }))
    }
    return names
  }

  #item (wrapped: Tree, scope: Scope, items: Item[]): void {
    const [kind = '', node] = Object.entries(wrapped)[0] as [string, Tree]
    switch (kind) {
      case 'JoinExpr': {
        this.#item(node.larg as Tree, scope, items)
        this.#item(node.rarg as Tree, scope, items)
        this.#expressions(node.quals, { ...scope, items: [...items] })
        break
      }
      case 'RangeVar': {
        const name = String(node.relname)
        const own = node.schemaname === undefined ? scope.names.get(name) : undefined
        items.push({ name: aliasOf(node), columns: own ?? new Set(this.#tables[name]) })
        break
      }
      case 'RangeSubselect': {
        const around = node.lateral === true ? { ...scope, items: [...items] } : { ...scope, items: [] }
        items.push({ name: aliasOf(node), columns: this.statement(node.subquery as Tree, around) })
        break
      }
      case 'RangeFunction': {
        this.#expressions(node.functions, { ...scope, items: [...items] })
        const name = /"funcname":\[\{"String":\{"sval":"(\w+)"/.exec(JSON.stringify(node.functions))?.[1] ??
          ''
        items.push({ name: aliasOf(node), columns: new Set(columnsOfFunction[name] ?? [aliasOf(node)]) })
        break
      }
    }
  }

  #expressions (value: unknown, scope: Scope): void {
    if (Array.isArray(value))
      return value.forEach(one => {
        this.#expressions(one, scope)
      })
    if (typeof value !== 'object' || value === null) return
    for (const [key, child] of Object.entries(value)) {
      if (key === 'ColumnRef') this.#reference(child as Tree, scope)
      else if (key === 'SelectStmt') this.statement({ SelectStmt: child as Tree }, scope)
      else this.#expressions(child, scope)
    }
  }

  #reference (node: Tree, scope: Scope): void {
    const names = list(node.fields).map(field => inner(field, 'String')?.sval)
    const [name, column] = names.slice(-2)
    if (names.length < 2 || typeof column !== 'string') return
    for (let at: Scope | undefined = scope; at !== undefined; at = at.outer) {
      const item = at.items.find(one => one.name === name)
      if (item === undefined) continue
      if (!item.columns.has(column)) this.found ??= `${String(name)}.${column}`
      return
    }
    this.found ??= `${String(name)}.${column}`
  }

  #outputs (targets: readonly Tree[], items: readonly Item[]): ReadonlySet<string> {
    return new Set(targets.flatMap(wrapped => {
      const target = wrapped.ResTarget as Tree
      if (target.name !== undefined) return [String(target.name)]
      const fields = list(inner(target.val as Tree, 'ColumnRef')?.fields)
      const last = fields.at(-1)
      if (last !== undefined && 'A_Star' in last)
        return items.filter(({ name }) =>
          fields.length === 1 || name === inner(fields[0] as Tree, 'String')?.sval
        ).flatMap(({ columns }) => [...columns])
      return [String(inner(last ?? {}, 'String')?.sval)]
    }))
  }
}

const columnsOfFunction: Readonly<Record<string, readonly string[]>> = {
  jsonb_array_elements_text: ['value'],
  jsonb_each_text: ['key', 'value']
}

function firstBranch (wrapped: Tree): Tree {
  const select = inner(wrapped, 'SelectStmt')
  return select?.larg === undefined ? wrapped : firstBranch({ SelectStmt: select.larg as Tree })
}

function aliasOf (node: Tree): string {
  return String(inner(node, 'alias')?.aliasname ?? node.relname)
}

function inner (tree: Tree, name: string): Tree | undefined {
  const value = tree[name]
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Tree : undefined
}

function list (value: unknown): readonly Tree[] {
  return Array.isArray(value) ? value as Tree[] : []
}
