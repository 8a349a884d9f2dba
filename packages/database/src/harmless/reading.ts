import type { OperationNode } from 'kysely'

import type { Use } from './facts.ts'

/** The columns of an item of FROM, or of what a statement returns. */
export interface Shape {
  readonly columns: ReadonlySet<string>
  /** Columns that it has unless a function or type of a user's has their name: those of `unnest()`, which depend on its argument. */
  readonly possible?: ReadonlySet<string>
  /** Whether it has no other columns. */
  readonly isComplete: boolean
}

/** One item of FROM under the name that the statement knows it by. */
export interface Item extends Shape {
  readonly name: string
}

/** What the catalog answers to a reading. */
export interface Columns {
  /** The schema of tables that are named without one. */
  readonly schema: string
  /** The columns of a table; undefined where it is not known. */
  of(schema: string, table: string): ReadonlySet<string> | undefined
  /** The columns that each function of this name returns, of those that the application lists; null for a single value. */
  results(name: string): readonly (readonly string[] | null)[]
}

/** A column reference that is no column of its item, as far as the catalog shows. */
export interface UnknownColumn {
  readonly item: string
  readonly column: string
  /** Whether all columns of the item are known. */
  readonly isCertain: boolean
}

/** What a statement names. */
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
  /** Names that were taken for {@link Shape.possible} columns. */
  readonly possible: Set<string> = new Set()
}

/** The places of a statement that stand inside others. Handed down with the scope, since each holds the rest. */
export interface HarmlessGrammar {
  subquery(node: OperationNode, scope: ReadingScope): Shape
  /** The body of a WITH: a SELECT, or a statement that writes. */
  statement(node: OperationNode, scope: ReadingScope): Shape
}

/** What is visible at one place of a statement. Never changed. */
export interface ReadingScope {
  readonly grammar: HarmlessGrammar
  readonly columns: Columns
  readonly reading: Reading
  readonly items: readonly Item[]
  /** Around a sub-query. */
  readonly outer: ReadingScope | undefined
  /** The names of WITH. */
  readonly names: ReadonlyMap<string, Shape>
  /** Whether the place sees some of `items` only, as ON does: then an item of the same name further out may be meant. */
  readonly isPartial?: boolean
}

/** The columns that every table has and `*` leaves out. */
export const systemColumns: ReadonlySet<string> = new Set(['tableoid', 'ctid', 'xmin', 'xmax', 'cmin',
  'cmax'])

/** Thrown for a statement with nodes that are not known. */
export class UnreadableError extends Error {}

export function unreadable (what: string): never {
  throw new UnreadableError(what)
}

/** Notes a reference `item.column`. */
export function refer (name: string, column: string, scope: ReadingScope): void {
  for (const item of candidates(name, scope)) {
    if (item.columns.has(column)) continue
    if (item.possible?.has(column)) scope.reading.possible.add(column)
    else scope.reading.unknown.push({ item: name, column, isCertain: item.isComplete })
  }
}

/** The items that `name` may mean. */
export function candidates (name: string, scope: ReadingScope): readonly Item[] {
  const found: Item[] = []
  for (let at: ReadingScope | undefined = scope; at !== undefined; at = at.outer) {
    found.push(...at.items.filter(item => item.name === name))
    if (found.length > 0 && at.isPartial !== true) return found
  }
  return found.length > 0 ? found : [{ name, columns: new Set(), isComplete: false }]
}
