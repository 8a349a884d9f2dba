// The cases that showed a fault once. The daily test plays them again.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'

import type { Finding } from './fuzzer.ts'

/** A kept case, and what was wrong when it was found. */
export interface KeptCase {
  readonly kind: string
  readonly seed: number
  readonly was: string
  readonly example: unknown
}

const path = join(import.meta.dirname, 'seeds.json')
/** A message may hold two statements. */
const longestMessage = 500

export function readKept (): readonly KeptCase[] {
  return JSON.parse(readFileSync(path, 'utf8')) as KeptCase[]
}

/** Adds a case, unless it is kept already. Commit it with the change that mends the fault. */
export function keep (kind: string, { seed, example, message }: Finding): void {
  const old = readKept()
  if (old.some(one => one.kind === kind && isDeepStrictEqual(one.example, example))) return
  const kept = [...old, { kind, seed, was: message.slice(0, longestMessage), example }]
  writeFileSync(path, `${JSON.stringify(kept, undefined, 2)}\n`)
}
