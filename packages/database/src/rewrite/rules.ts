import type { JoinType } from 'kysely'

/**
 * Where the predicate of one item of a join goes: to WHERE, to the ON of the join with this index,
 * or round the item itself, as `(select * from … where …)`.
 */
export type RulePlace = 'where' | 'wrap' | number

/**
 * What PostgreSQL's grammar says of names and joins. A value of its own, so that it can be tested,
 * and tests can break it.
 */
export interface Rules {
  /**
   * The places of the predicates of a chain of joins: of its first item, then of each joined one.
   */
  place(joins: readonly JoinType[]): readonly RulePlace[]
  /** The names of a WITH that one of its bodies sees. */
  namesInBody(names: readonly string[], index: number, isRecursive: boolean): readonly string[]
  /** Whether the name of a CTE may stand for the table that a statement writes to. */
  readonly targetSeesNames: boolean
}

export const postgresRules: Rules = {
  place,
  // Under RECURSIVE all bodies see all names; otherwise a body sees those before it, and its own
  // name is a table's.
  namesInBody: (names, index, isRecursive) => isRecursive ? names : names.slice(0, index),
  targetSeesNames: false
}

/*
 * A predicate in WHERE must not meet rows that a later outer join fills with NULL, nor one in ON
 * decide whether the other side's row is kept. So a join's right item is held back in the join's
 * own ON where that join may drop it (inner, left). What waits for a place on the left goes to the
 * ON of the next right join, which may drop the left; under a full join neither side may be dropped
 * by its ON, and its ON must stay a plain equality: what waits is wrapped. What still waits at the
 * end was never on the side that is filled with NULL: WHERE.
 */
function place (joins: readonly JoinType[]): readonly RulePlace[] {
  const places: RulePlace[] = ['where']
  let waiting = [0]
  const settle = (where: RulePlace): void => {
    for (const item of waiting) places[item] = where
    waiting = []
  }
  for (const [index, join] of joins.entries()) {
    const item = index + 1
    if (join === 'RightJoin') settle(index)
    if (join === 'FullJoin') settle('wrap')
    if (join === 'RightJoin' || join === 'CrossJoin' || join === 'LateralCrossJoin') {
      places.push('where')
      waiting.push(item)
    } else {
      places.push(join === 'FullJoin' ? 'wrap' : index)
    }
  }
  return places
}
