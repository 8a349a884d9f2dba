import type { JoinType } from 'kysely'

/**
 * The place for the predicate of one item of a join: WHERE, the ON of the join with this index, or
 * around the item, as `(select * from … where …)`.
 */
type RulePlace = 'where' | 'wrap' | number

/**
 * PostgreSQL's rules for names and joins. Separate from the rewriter, so that tests can check the
 * rules and break them.
 */
export interface Rules {
  /**
   * Returns the places of the predicates of a chain of joins: of its first item, then of each
   * joined item.
   */
  place(joins: readonly JoinType[]): readonly RulePlace[]
  /** Returns the names of a WITH that one of its bodies sees. */
  namesInBody(names: readonly string[], index: number, isRecursive: boolean): readonly string[]
  /** Whether the name of a CTE can mean the table that a statement writes to. */
  readonly targetSeesNames: boolean
}

export const postgresRules: Rules = {
  place,
  // Under RECURSIVE all bodies see all names. Otherwise a body sees the names before it, and its
  // own name means a table.
  namesInBody: (names, index, isRecursive) => isRecursive ? names : names.slice(0, index),
  targetSeesNames: false
}

/*
 * A predicate in WHERE must not test rows that a later outer join fills with NULL. A predicate in
 * ON must not decide whether the other side's row is kept. So:
 *
 * - A join's right item goes to the join's own ON if that join may drop it (inner, left).
 * - A pending predicate of the left side goes to the ON of the next right join, which may drop the
 *   left.
 * - A full join drops neither side, and its ON must stay a plain equality, so pending items are
 *   wrapped.
 * - Predicates still pending at the end were never on a side filled with NULL, so they go to WHERE.
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
