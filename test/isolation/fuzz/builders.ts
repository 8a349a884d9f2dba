// Kysely's builders without their types of tables: what a random query joins is known only when it
// runs.
import type { CompiledQuery } from 'kysely'

export type Callback = (eb: Expressions) => unknown

type Step = (...args: readonly unknown[]) => Query

export interface Query {
  readonly where: Step
  readonly select: Step
  readonly selectAll: Step
  readonly innerJoin: Step
  readonly leftJoin: Step
  readonly rightJoin: Step
  readonly fullJoin: Step
  readonly crossJoin: Step
  readonly innerJoinLateral: Step
  readonly leftJoinLateral: Step
  readonly crossJoinLateral: Step
  readonly groupBy: Step
  readonly having: Step
  readonly orderBy: Step
  readonly limit: Step
  readonly offset: Step
  readonly fetch: Step
  readonly distinct: Step
  readonly distinctOn: Step
  readonly union: Step
  readonly unionAll: Step
  readonly intersect: Step
  readonly except: Step
  readonly forUpdate: Step
  readonly forShare: Step
  readonly forNoKeyUpdate: Step
  readonly skipLocked: Step
  readonly noWait: Step
  readonly values: Step
  readonly columns: Step
  readonly expression: Step
  readonly defaultValues: Step
  readonly onConflict: Step
  readonly returning: Step
  readonly returningAll: Step
  readonly set: Step
  readonly from: Step
  readonly using: Step
  readonly whenMatched: Step
  readonly whenMatchedAnd: Step
  readonly whenNotMatched: Step
  readonly whenNotMatchedAnd: Step
  readonly whenNotMatchedBySource: Step
  readonly whenNotMatchedBySourceAnd: Step
  readonly thenDelete: Step
  readonly thenDoNothing: Step
  readonly thenUpdateSet: Step
  readonly thenInsertValues: Step
  readonly as: (alias: string) => Query
  readonly on: Step
  readonly onRef: Step
  readonly onTrue: Step
  readonly doNothing: Step
  readonly doUpdateSet: Step
  readonly column: Step
  compile(): CompiledQuery
}

export interface Creator {
  selectFrom(from: unknown): Query
  insertInto(table: string): Query
  updateTable(table: string): Query
  deleteFrom(table: string): Query
  mergeInto(table: string): Query
  with(name: unknown, body: (creator: Creator) => unknown): Creator
  withRecursive(name: unknown, body: (creator: Creator) => unknown): Creator
}

export interface Expression {
  as(alias: string): unknown
  or(...args: readonly unknown[]): Expression
  and(...args: readonly unknown[]): Expression
  readonly filterWhere: (...args: readonly unknown[]) => Expression
  readonly over: (over?: (builder: Over) => unknown) => Expression
  readonly orderBy: (...args: readonly unknown[]) => Expression
  readonly distinct: () => Expression
}

export interface Over {
  partitionBy(column: string): Over
  orderBy(column: string, direction?: string): Over
}

export interface Cases {
  when(...args: readonly unknown[]): { then(value: unknown): Cases }
  else(value: unknown): { end(): Expression }
}

export interface Expressions {
  (left: unknown, operator: string, right: unknown): Expression
  ref(name: string): Expression
  val(value: unknown): Expression
  lit(value: unknown): Expression
  not(value: unknown): Expression
  neg(value: unknown): Expression
  exists(query: unknown): Expression
  and(list: readonly unknown[]): Expression
  or(list: readonly unknown[]): Expression
  parens(value: unknown): Expression
  cast(value: unknown, type: string): Expression
  between(value: unknown, low: unknown, high: unknown): Expression
  tuple(...values: readonly unknown[]): Expression
  refTuple(...values: readonly unknown[]): Expression
  case(): Cases
  selectFrom(from: unknown): Query
  readonly fn: {
    (name: string, args: readonly unknown[]): Expression
    agg(name: string, args: readonly unknown[]): Expression
    count(column: unknown): Expression
    countAll(): Expression
    sum(column: unknown): Expression
    min(column: unknown): Expression
    max(column: unknown): Expression
    coalesce(...args: readonly unknown[]): Expression
  }
}
