// `npm run chaos -- [--seed N] [--seconds N] [--through direct|pgbouncer|cluster]`: ten minutes of
// faults against three processes, and the checker. `--seconds 0` is the short form of the tests.
import { randomInt } from 'node:crypto'
import t from 'tap'
import { parseArgs } from 'node:util'

import { chaos } from './chaos.ts'
import { routes, type Route } from './plan.ts'
import { format } from './report.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    seconds: { type: 'string', default: '600' },
    through: { type: 'string', default: 'direct' }
  }
})
const [seed, seconds] = [values.seed, values.seconds].map(number)
const route = routes.find(name => name === values.through)
if (route === undefined) throw new Error(`--through must be one of ${routes.join(', ')}`)

t.setTimeout(0)
await t.test(`seed ${seed}, ${seconds} s, ${route}`, { timeout: 0 }, async t => {
  const report = await chaos(t, {
    seed: seed ?? 0,
    seconds: seconds === 0 ? undefined : seconds,
    route: route as Route
  })
  for (const line of format(report)) t.comment(line)
  for (const [rule, violations] of report.violations) t.equal(violations.length, 0, rule)
})

function number (text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${text} is no whole number`)
  return value
}
