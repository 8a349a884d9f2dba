// Hostile code of the application before a next tenant, direct and through PgBouncer.
import type { Test } from 'tap'

import { cases, Ground, type Case } from '../isolation/hostile/ground.ts'
import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import type { Fuzzer } from './fuzzer.ts'

/** Plays each case in every combination of `reset` and of the way to the server. */
export async function openConnections (t: Test): Promise<Fuzzer<Case>> {
  const sizes = noPgBouncer === false ? [undefined, 1, 4] : [undefined]
  const grounds: Ground[] = []
  for (const reset of ['auto', 'always'] as const) {
    for (const size of sizes) {
      grounds.push(
        await Ground.prepare(
          t,
          { reset },
          async url => size === undefined ? url : pgBouncer(t, url, 'transaction', { size })
        )
      )
    }
  }
  return {
    cases,
    async play (one) {
      for (const ground of grounds) await ground.play(one)
    }
  }
}
