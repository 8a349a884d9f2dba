// The checker: every rule over one history.
import type { History, Rule } from './history.ts'
import { cacheAfterRollback } from './rules/cache-after-rollback.ts'
import { changes } from './rules/changes.ts'
import { exactlyOnce } from './rules/exactly-once.ts'
import { growth } from './rules/growth.ts'
import { limits } from './rules/limits.ts'
import { noForeignValue } from './rules/no-foreign-value.ts'
import { recovery } from './rules/recovery.ts'
import { statuses } from './rules/statuses.ts'
import { wholeTransactions } from './rules/whole-transactions.ts'

export const rules: readonly Rule[] = [noForeignValue, exactlyOnce, wholeTransactions, cacheAfterRollback,
  limits, changes, statuses, recovery, growth]

/** The violations of each rule, by the rule's name. */
export function check (history: History): Map<string, string[]> {
  return new Map(rules.map(rule => [rule.name, rule.check(history)]))
}
