// Prints READMEs and guides, drawn at random by a seed, for a reader who checks that each paragraph
// has one fact. `npm run docs:random -- [seed] [count]`
import { createHash } from 'node:crypto'

import { readersPages } from './compile-snippets.ts'

/** Returns pages in an order that the seed decides. The same seed and pages give the same order. */
export function randomPages (seed: string, count: number): string[] {
  const rank = (page: string): string => createHash('sha256').update(`${seed}\n${page}`).digest('hex')
  return readersPages().toSorted((a, b) => rank(a) < rank(b) ? -1 : 1).slice(0, count)
}

if (import.meta.main) {
  const [seed = new Date().toISOString().slice(0, 10), count = '10'] = process.argv.slice(2)
  console.log(`seed ${seed}`)
  for (const page of randomPages(seed, Number(count))) console.log(page)
}
