import type { TransferTable } from '../tenant-rows/tables.ts'
import { hasKey, keyOf } from './stage.ts'

/**
 * A table of the target, and as `like` the source's table of that name, whose keys were recorded.
 */
export interface TablePair {
  readonly table: TransferTable
  readonly like: TransferTable
}

/**
 * Whether changes of the table are applied row by row, by their keys. False if the source's table
 * has no usable primary key.
 */
export function isKeyed ({ like }: TablePair): boolean {
  return keyOf(like).length > 0
}

/** Returns the condition that matches the target's row `t` to the change `c`. */
export function changedRow ({ table, like }: TablePair): string {
  return hasKey(table, index => `c.key[${index + 1}]`, like)
}
