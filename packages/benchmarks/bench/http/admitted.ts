// Issue 5: a warm route through the whole suite without database and cache, against a bare Fastify
// route and other limiters.
import { race } from '../../src/race.ts'
import { report, markdownTable, versions } from '../../src/report.ts'
import { openField } from './field.ts'

const field = await openField()
const baseline = await field.server('bare')
const others = []
for (
  const kind of ['suite, no limits', 'suite, local limiter', 'suite, leased limiter', 'suite, Redis limiter',
    '@fastify/rate-limit, local', '@fastify/rate-limit, Redis', 'rate-limiter-flexible, local',
    'rate-limiter-flexible, Redis']
) {
  others.push(await field.server(kind))
}
others.push(await field.server('suite, Redis limiter', { tenants: 9 }))
const result = await race(baseline.apart, others.map(({ apart }) => apart))
const inRow = await race(baseline.inRow, others.map(({ inRow }) => inRow))
await field.stop()
report(
  'http',
  `**32 connections, a request at a time**\n\n${
    markdownTable(result, [
      { figure: 'perSecond', title: 'requests/s', digits: 0 },
      { figure: 'cpu', title: 'CPU µs/request', digits: 1 },
      { figure: 'busy', title: 'server busy' },
      { figure: 'loadBusy', title: 'load busy' }
    ], [
      { name: 'suite, local limiter', figure: 'perSecond', atLeast: 0.9 },
      { name: 'suite, leased limiter', figure: 'perSecond', atLeast: 0.85 },
      { name: 'suite, Redis limiter', figure: 'perSecond', atLeast: 0.5 },
      { name: 'suite, Redis limiter', figure: 'perSecond', atLeast: 1, against: '@fastify/rate-limit, Redis' }
    ])
  }\n\n**CPU, 16 requests in a row on each of 2 connections**\n\n${
    markdownTable(inRow, [{ figure: 'cpu', title: 'CPU µs/request', digits: 1 }])
  }\n\n${versions('@fastify/rate-limit', 'rate-limiter-flexible').join(', ')}`
)
process.exit()
