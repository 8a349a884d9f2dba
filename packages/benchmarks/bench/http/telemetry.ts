// The cost of telemetry for a warm request. With the folder of another built checkout also the cost of
// its channels without a listener:
// `npm run bench:telemetry [-- ../before]`.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

import { race } from '../../src/race.ts'
import { report, table } from '../../src/report.ts'
import { openField, type Field } from './field.ts'

const [other] = process.argv.slice(2).filter(argument => !argument.startsWith('--'))
const column = [{ figure: 'cpu', title: 'CPU µs/request', digits: 1 }]
const field = await openField()
const quiet = await field.server('suite, no limits')
const counted = await field.server('suite, Prometheus')
const texts = [
  table(await race(quiet.inRow, [counted.inRow]), column, [
    { name: 'suite, Prometheus', figure: 'cpu', atMost: 1.1 }
  ])
]
if (other !== undefined) {
  const file = pathToFileURL(join(other, 'packages/benchmarks/bench/http/field.ts')).href
  const before = await (await import(file) as { openField(): Promise<Field> }).openField()
  const old = await before.server('suite, no limits')
  const result = await race({ ...old.inRow, name: 'the other checkout' }, [{
    ...quiet.inRow,
    name: 'this checkout'
  }])
  texts.push(table(result, column, [{ name: 'this checkout', figure: 'cpu', atMost: 1.03 }]))
  await before.stop()
}
await field.stop()
report('telemetry', texts.join('\n\n'))
process.exit()
