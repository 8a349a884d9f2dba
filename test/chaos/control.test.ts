// Over an application with one mistake for each rule, each rule of the checker fails.
import t from 'tap'

import { noRedis } from '../support/fresh.ts'
import { chaos } from './chaos.ts'
import { check } from './check.ts'
import { isServed } from './history.ts'
import type { Step } from './plan.ts'
import { format } from './report.ts'
import { perMinute, roles } from './world.ts'

const step = (kind: Step['kind'], afterMs: number, holdMs = 0): Step => ({
  kind,
  process: 0,
  afterMs,
  holdMs
})

t.test('control: a naive application breaks each rule', { skip: noRedis, timeout: 120_000 }, async t => {
  const report = await chaos(t, {
    seed: 1,
    route: 'direct',
    seconds: undefined,
    file: 'naive-app.ts',
    steps: [[step('kill backends', 500), step('kill', 0), step('suspend', 0, 1_500), step('rename', 0)]],
    pauseMs: [1, 20],
    bounds: { recoveryMs: 2_000, changeMs: 1_000 },
    isEnough: calls =>
      calls.filter(call => call.tenant === roles.limited && isServed(call)).length > 2 * perMinute
  })
  for (const line of format(report)) t.comment(line)
  // A busy machine excuses more than this application needs.
  const faults = report.history.faults.filter(({ kind }) => kind !== 'busy machine')
  for (const [rule, violations] of check({ ...report.history, faults })) t.not(violations.length, 0, rule)
})
