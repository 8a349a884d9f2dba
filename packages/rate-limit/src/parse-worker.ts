import { workerData } from 'node:worker_threads'

import type { LimitFields } from './limits.ts'
import { parseLimits } from './parse-limits.ts'
import { readLimits } from './read-limits.ts'

type Entries = readonly (readonly [string, LimitFields])[]

/**
 * A line of JSON that the worker of `parseApart()` writes: the problem, or first everything but the
 * tenants, and then the tenants in slices.
 */
export type Line =
  | { readonly problem: string }
  | { readonly default: LimitFields; readonly anonymous: LimitFields; readonly plans: Entries }
  | { readonly tenants: Entries }

const sliceLength = 1_000
const { path, name } = workerData as { readonly path: string; readonly name: string }

function write (line: Line): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

try {
  const { tenants, plans, ...rest } = parseLimits(await readLimits(path, name), name)
  write({ ...rest, plans: [...plans] })
  const all = [...tenants]
  for (let at = 0; at < all.length; at += sliceLength) write({ tenants: all.slice(at, at + sliceLength) })
} catch (error) {
  write({ problem: error instanceof Error ? error.message : String(error) })
}
