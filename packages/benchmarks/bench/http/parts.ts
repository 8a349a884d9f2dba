// Measures the parts of a request's cost: a bare application with one feature of the suite each,
// and the whole suite.
import { race } from '../../src/race.ts'
import { report, markdownTable } from '../../src/report.ts'
import { openField } from './field.ts'
import { pieces } from './pieces.ts'

const field = await openField()
const baseline = await field.server('bare')
const others = [await field.server('bare')] // shows how large differences by chance are
for (const kind of Object.keys(pieces))
  others.push(await field.server(kind, { status: kind.endsWith('429') ? 429 : 200 }))
for (const kind of ['suite, no limits', 'suite, local limiter']) others.push(await field.server(kind))
others.push(await field.server('denied suite, local limiter', { status: 429 }))
const named = others.map(({ inRow }, at) => at === 0 ? { ...inRow, name: 'bare again' } : inRow)
const result = await race(baseline.inRow, named)
await field.stop()
report(
  'parts',
  `**CPU, 16 requests in a row on each of 2 connections**\n\n${
    markdownTable(result, [{ figure: 'cpu', title: 'CPU µs/request', digits: 1 }])
  }`
)
process.exit()
