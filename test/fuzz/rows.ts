// Random queries whose rewritten form must answer as forced policies do.
import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'

import { Judge } from '../isolation/fuzz/judge.ts'
import { choices } from '../isolation/fuzz/random.ts'
import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'
import type { Fuzzer } from './fuzzer.ts'

export async function openRows (t: Test): Promise<Fuzzer<number[]>> {
  const role = `fuzz_${randomBytes(6).toString('hex')}`
  const client = await connect(t, await freshDatabase(t))
  t.teardown(() => client.query(`drop owned by ${role}; drop role ${role}`))
  const judge = await Judge.on(client, role)
  return {
    cases: choices,
    async play (tape) {
      const { problem } = await judge.verdict(tape)
      if (problem !== undefined) throw new Error(problem)
    }
  }
}
