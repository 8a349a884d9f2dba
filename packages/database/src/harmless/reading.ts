import type { OperationNode } from 'kysely'

import type { Use } from './facts.ts'

/** The columns of an item of FROM, or of a statement's result. */
export interface Shape {
  readonly columns: ReadonlySet<string>
  /**
   * Columns that exist unless a user-defined function or type has their name: those of `unnest()`,
   * which depend on its argument.
   */
  readonly possible?: ReadonlySet<string>
  /** Whether it has no further columns. */
  readonly isComplete: boolean
}

/** One item of FROM with its name in the statement. */
export interface Item extends Shape {
  readonly name: string
}

/** The facts that reading a statement needs. */
export interface Columns {
  /** The schema of unqualified tables. */
  readonly schema: string
  /** Returns the columns of a table; undefined if the table is unknown. */
  of(schema: string, table: string): ReadonlySet<string> | undefined
  /** Returns the result columns of each listed function with this name; null for a single value. */
  results(name: string): readonly (readonly string[] | null)[]
}

/** A column reference that matches no column of its item, as far as the facts show. */
export interface UnknownColumn {
  readonly item: string
  readonly column: string
  /** Whether all columns of the item are known. */
  readonly isCertain: boolean
}

/** The names that a statement uses. */
export class Reading {
  readonly uses: {
    readonly schema: string
    readonly table: string
    readonly use: Use
    readonly isQualified: boolean
  }[] = []
  readonly functions: Set<string> = new Set()
  readonly operators: Set<string> = new Set()
  readonly unknown: UnknownColumn[] = []
  /** Names that matched {@link Shape.possible} columns. */
  readonly possible: Set<string> = new Set()
}

/**
 * The recursive parts of the grammar. Passed in the scope, because their files import each other's
 * functions.
 */
export interface HarmlessGrammar {
  subquery(node: OperationNode, scope: ReadingScope): Shape
  /** Reads the body of a WITH: a SELECT, or a statement that writes. */
  statement(node: OperationNode, scope: ReadingScope): Shape
}

/** The names that are visible at one place of a statement. Immutable. */
export interface ReadingScope {
  readonly grammar: HarmlessGrammar
  readonly columns: Columns
  readonly reading: Reading
  readonly items: readonly Item[]
  /** The scope around a sub-query. */
  readonly outer: ReadingScope | undefined
  /** The names of WITH. */
  readonly names: ReadonlyMap<string, Shape>
  /**
   * Whether the place sees only some of `items`, as ON does. A name may then mean an item further
   * out.
   */
  readonly isPartial?: boolean
}

/** The columns that every table has and `*` omits. */
export const systemColumns: ReadonlySet<string> = new Set(['tableoid', 'ctid', 'xmin', 'xmax', 'cmin',
  'cmax'])

/** Thrown for a statement with unknown nodes. */
class UnreadableError extends Error {}

export function unreadable (what: string): never {
  throw new UnreadableError(what)
}

/** Records a reference `item.column`. */
export function refer (name: string, column: string, scope: ReadingScope): void {
  for (const item of candidates(name, scope)) {
    if (item.columns.has(column)) continue
    if (item.possible?.has(column)) scope.reading.possible.add(column)
    else scope.reading.unknown.push({ item: name, column, isCertain: item.isComplete })
  }
}

/** Returns the items that `name` may mean. */
function candidates (name: string, scope: ReadingScope): readonly Item[] {
  const found: Item[] = []
  for (let at: ReadingScope | undefined = scope; at !== undefined; at = at.outer) {
    found.push(...at.items.filter(item => item.name === name))
    if (found.length > 0 && at.isPartial !== true) return found
  }
  return found.length > 0 ? found : [{ name, columns: new Set(), isComplete: false }]
}
