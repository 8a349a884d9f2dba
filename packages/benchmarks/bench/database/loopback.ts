// Issues 3 and 4: without a network, 16 in flight, against Kysely by hand on a table without a
// policy. Here every microsecond of the suite shows.
import type { Contender } from '../../src/race.ts'
import { race } from '../../src/race.ts'
import { report, markdownTable, type BenchTarget } from '../../src/report.ts'
import { drive } from '../../src/workers.ts'
import { measuredPool, openSuite, startServer } from './postgres.ts'
import { byHandKysely, bySuite, type Work } from './work.ts'

const inFlight = 16
const picked = process.argv.slice(2).filter(argument => !argument.startsWith('--'))
const kinds = (['one', 'list', 'insert', 'update', 'transaction'] as const).filter(kind =>
  picked.length === 0 || picked.includes(kind)
)

interface Entrant {
  readonly name: string
  readonly work: Work
  readonly cpu: () => number
}

const server = await startServer()

async function suite (name: string, isSigned: boolean, database: object = {}): Promise<Entrant> {
  const { pool, cpu } = measuredPool((isSigned ? server.signed : server.plain).url, inFlight)
  return { name, work: bySuite(await openSuite(pool, isSigned, database)), cpu }
}

async function rewritten (name: string): Promise<Entrant> {
  const { pool, cpu } = measuredPool(server.plain.handUrl, inFlight)
  return {
    name,
    work: bySuite(
      await openSuite(pool, false, {}, { isolation: 'row', tables: { tenant: ['bare_items'] } }),
      'bare_items'
    ),
    cpu
  }
}

const { pool, cpu } = measuredPool(server.plain.handUrl, inFlight)
const baseline: Entrant = { name: 'Kysely by hand', work: byHandKysely(pool), cpu }
const entrants = [
  await suite('rls, custom plans', false),
  await suite('rls, shared plans', false, { plans: 'shared' }),
  await suite('rls signed, custom plans', true),
  await suite('rls signed, shared plans', true, { plans: 'shared' }),
  await rewritten('row')
]
const targets: readonly BenchTarget[] = entrants.map(({ name }) => ({ name, figure: 'p50', atMost: 1.15 }))

const tables: string[] = []
for (const kind of kinds) {
  process.stderr.write(`${kind}: `)
  const contender = ({ name, work, cpu }: Entrant): Contender => ({
    name,
    run: () => drive(inFlight, work[kind], cpu)
  })
  const result = await race(contender(baseline), entrants.map(contender))
  tables.push(`**${kind}**\n\n${
    markdownTable(result, [
      { figure: 'p50', title: 'p50 ms', digits: 3 },
      { figure: 'serverCpu', title: 'server CPU µs', digits: 0 },
      { figure: 'clientCpu', title: 'client CPU µs', digits: 0 }
    ], kind === 'one' ? targets : [])
  }`)
}
report('loopback', `${tables.join('\n\n')}\n\n${server.version}, ${inFlight} in flight`)
await server.stop()
process.exit()
