// Compares the servers of two built and installed checkouts in one run:
// `npm run bench:commits:http -- <folder of the other checkout>`.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

import { race } from '../../src/race.ts'
import { report, markdownTable } from '../../src/report.ts'
import type { Field } from '../http/field.ts'

const [other = ''] = process.argv.slice(2).filter(argument => !argument.startsWith('--'))
if (other === '')
  throw new Error(
    'name the folder of the other checkout, which must be built: npm run bench:commits:http -- ../before'
  )
const here = join(import.meta.dirname, '../../../..')

/**
 * The servers of a checkout, started by its own benchmark with its packages, on its own database.
 */
async function open (checkout: string): Promise<Field> {
  const file = pathToFileURL(join(checkout, 'packages/benchmarks/bench/http/field.ts')).href
  const { openField } = await import(file) as { openField(): Promise<Field> }
  return openField()
}

const [before, after] = [await open(other), await open(here)]
const texts: string[] = []
for (
  const kind of ['suite, no limits', 'suite, local limiter', 'suite, leased limiter', 'suite, Redis limiter']
) {
  process.stderr.write(`${kind}: `)
  const [old, now] = [await before.server(kind), await after.server(kind)]
  const result = await race({ ...old.apart, name: 'the other checkout' }, [{
    ...now.apart,
    name: 'this checkout'
  }])
  texts.push(`**${kind}**\n\n${
    markdownTable(result, [
      { figure: 'perSecond', title: 'requests/s', digits: 0 },
      { figure: 'cpu', title: 'CPU µs/request', digits: 1 }
    ], [
      { name: 'this checkout', figure: 'perSecond', atLeast: 0.97 },
      { name: 'this checkout', figure: 'cpu', atMost: 1.03 }
    ])
  }`)
}
await Promise.all([before.stop(), after.stop()])
report('commits-http', texts.join('\n\n'))
process.exit()
