import type { TenantTable } from '../transfer/tables.ts'
import { hasKey, keyOf } from './stage.ts'

/** A table of the target, and the source's of that name, whose keys were written down. */
export interface Both {
  readonly table: TenantTable
  readonly like: TenantTable
}

/** Whether its rows go one by one. */
export function isKeyed ({ like }: Both): boolean {
  return keyOf(like).length > 0
}

/** The condition under which the target's row `t` is the one of the change `c`. */
export function changedRow ({ table, like }: Both): string {
  return hasKey(table, index => `c.key[${index + 1}]`, like)
}
