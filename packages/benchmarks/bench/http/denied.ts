// Issue 5: a request of a tenant over its limit, against a bare route that answers it.
import { race } from '../../src/race.ts'
import { report, table, versions } from '../../src/report.ts'
import { openField } from './field.ts'

const field = await openField()
const baseline = await field.contender('bare')
const others = []
for (const kind of ['suite, local limiter', 'suite, Redis limiter', '@fastify/rate-limit, Redis', 'rate-limiter-flexible, Redis']) {
  others.push(await field.contender(`denied ${kind}`, 429))
}
const result = await race(baseline, others)
await field.stop()
report('denied', `${table(result, [
  { figure: 'perSecond', title: 'requests/s', digits: 0 },
  { figure: 'cpu', title: 'CPU µs/request', digits: 1 }
], [
  { name: 'denied suite, local limiter', figure: 'perSecond', atLeast: 0.95 },
  { name: 'denied suite, Redis limiter', figure: 'perSecond', atLeast: 0.95 }
])}\n\nautocannon, 32 connections; ${versions('@fastify/rate-limit', 'rate-limiter-flexible', 'autocannon').join(', ')}`)
process.exit()
