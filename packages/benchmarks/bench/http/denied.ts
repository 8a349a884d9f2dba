// Issue 5: a request of a tenant over its limit, against a bare route that sends the same answer.
import { race } from '../../src/race.ts'
import { report, markdownTable, versions } from '../../src/report.ts'
import { openField } from './field.ts'

const field = await openField()
const baseline = await field.server('bare')
const others = []
for (
  const kind of ['suite, local limiter', 'suite, leased limiter', 'suite, Redis limiter',
    '@fastify/rate-limit, Redis', 'rate-limiter-flexible, Redis']
) {
  others.push(await field.server(`denied ${kind}`, { status: 429 }))
}
const result = await race(baseline.apart, others.map(({ apart }) => apart))
const inRow = await race(baseline.inRow, others.map(({ inRow }) => inRow))
await field.stop()
report(
  'denied',
  `**32 connections, a request at a time**\n\n${
    markdownTable(result, [
      { figure: 'perSecond', title: 'requests/s', digits: 0 },
      { figure: 'cpu', title: 'CPU µs/request', digits: 1 },
      { figure: 'busy', title: 'server busy' },
      { figure: 'loadBusy', title: 'load busy' }
    ], [
      { name: 'denied suite, local limiter', figure: 'perSecond', atLeast: 0.95 },
      { name: 'denied suite, leased limiter', figure: 'perSecond', atLeast: 0.95 },
      { name: 'denied suite, Redis limiter', figure: 'perSecond', atLeast: 0.95 }
    ])
  }\n\n**CPU, 16 requests in a row on each of 2 connections**\n\n${
    markdownTable(inRow, [{ figure: 'cpu', title: 'CPU µs/request', digits: 1 }])
  }\n\n${versions('@fastify/rate-limit', 'rate-limiter-flexible').join(', ')}`
)
process.exit()
