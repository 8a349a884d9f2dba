// Random hostile code of the application, before a next tenant that looks at all it can see.
// `npm run fuzz -- connections` runs more.
import fc from 'fast-check'
import { randomInt } from 'node:crypto'
import t from 'tap'

import { isLong } from '../../support/long.ts'
import { noPgBouncer, pgBouncer } from '../../support/pgbouncer.ts'
import { commands } from './commands.ts'
import { cases, Ground } from './ground.ts'

const count = isLong ? 1_500 : 30
const timeout = 600_000

for (const reset of ['auto', 'always'] as const) {
  for (const size of [undefined, 1]) {
    const place = size === undefined ? 'direct' : 'through PgBouncer'
    const skip = size !== undefined && noPgBouncer
    t.test(`CON-01 CON-21 reset '${reset}', ${place}: the next tenant meets nothing of random code`, {
      skip,
      timeout
    }, async t => {
      const ground = await Ground.prepare(
        t,
        { reset },
        async url => size === undefined ? url : pgBouncer(t, url, 'transaction', { size })
      )
      const seed = randomInt(2 ** 31)
      await fc.assert(fc.asyncProperty(cases, one => ground.play(one)), { numRuns: count, seed })
      t.pass(`${ground.count} cases from seed ${seed}`)
    })
  }
}

t.test('control: without a reset most of these commands are seen', { timeout }, async t => {
  const ground = await Ground.prepare(t, {})
  const samples = fc.sample(commands, { numRuns: 40, seed: 1 })
  let seen = 0
  for (const command of samples) if (await ground.isSeen(command)) seen++
  t.notOk(await ground.isSeen('select 1'), 'a harmless command is not')
  t.ok(seen > samples.length / 2, `${seen} of ${samples.length}`)
})
