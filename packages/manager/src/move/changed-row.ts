import type { TransferTable } from '../tenant-rows/tables.ts'
import { hasKey, keyOf } from './stage.ts'

/** A table of the target, and the source's of that name, whose keys were written down. */
export interface TablePair {
  readonly table: TransferTable
  readonly like: TransferTable
}

/** Whether its rows go one by one. */
export function isKeyed ({ like }: TablePair): boolean {
  return keyOf(like).length > 0
}

/** The condition under which the target's row `t` is the one of the change `c`. */
export function changedRow ({ table, like }: TablePair): string {
  return hasKey(table, index => `c.key[${index + 1}]`, like)
}
