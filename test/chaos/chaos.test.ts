// The short form of `npm run chaos`: each kind of fault once. `--seconds 0` repeats it.
import { randomInt } from 'node:crypto'
import t from 'tap'

import { noRedis } from '../support/fresh.ts'
import { chaos } from './chaos.ts'
import { format } from './report.ts'

t.test('three processes keep every promise through each kind of fault', {
  skip: noRedis,
  timeout: 120_000
}, async t => {
  const seed = randomInt(2 ** 31)
  const report = await chaos(t, { seed, route: 'direct', seconds: undefined })
  for (const line of format(report)) t.comment(line)
  for (const [rule, violations] of report.violations)
    t.same(violations.slice(0, 3), [], `${rule}: npm run chaos -- --seconds 0 --seed ${seed}`)
  const { calls } = report.history
  t.ok(calls.filter(({ status }) => status === 201).length > 100, 'control: there was something to lose')
})
