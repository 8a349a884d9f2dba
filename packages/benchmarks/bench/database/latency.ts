// Issue 3: a statement through the suite at 1 ms, 4 in flight, against `pg` by hand on a table
// without a policy. `-- one list …` selects the tasks.
import type pg from 'pg'

import type { Contender } from '../../src/race.ts'
import { far } from '../../src/far.ts'
import { measuredPool, openSuite, startServer } from './postgres.ts'
import { race } from '../../src/race.ts'
import { report, markdownTable, type BenchTarget } from '../../src/report.ts'
import { drive } from '../../src/workers.ts'
import { byHand, byHandKysely, bySuite, type Work } from './work.ts'

const inFlight = 4
const kinds = ['one', 'list', 'insert', 'update', 'transaction'] as const
const picked = process.argv.slice(2).filter(argument => !argument.startsWith('--'))

const server = await startServer()
const network = await far(server.plain.url)
const closers: (() => Promise<unknown>)[] = []

interface Entrant {
  readonly name: string
  readonly work: Work
  readonly cpu: () => number
}

function hand (name: string, isNamed: boolean): Entrant {
  const { pool, cpu } = measuredPool(distant(server.plain.handUrl))
  closers.push(() => pool.end())
  return { name, work: byHand(pool, isNamed), cpu }
}

function kysely (name: string): Entrant {
  const { pool, cpu } = measuredPool(distant(server.plain.handUrl))
  closers.push(() => pool.end())
  return { name, work: byHandKysely(pool), cpu }
}

async function suite (
  name: string,
  place: 'plain' | 'signed' | 'roles',
  database: object,
  options: object = {},
  on: 'items' | 'bare_items' = 'items'
): Promise<Entrant> {
  const { url, handUrl } = server[place]
  const { pool, cpu } = measuredPool(distant(on === 'items' ? url : handUrl))
  const opened = await openSuite(pool, place === 'signed', database, options)
  closers.push(async () => {
    await opened.close()
    await pool.end()
  })
  return { name, work: bySuite(opened, on), cpu }
}

/**
 * A hundred tenants over four databases with open pools: measures the routing to a tenant's pool.
 */
async function databases (name: string): Promise<Entrant> {
  const measured = server.own.map(url => measuredPool(distant(url), inFlight))
  const { pool: registry } = measuredPool(distant(server.plain.url))
  const place = ({ id }: { readonly id: string }): pg.Pool =>
    measured[Number(id.split('-')[1]) % measured.length]!.pool
  const opened = await openSuite(registry, false, { tenants: { url: place, maxPools: 100 }, budget: 100 }, {
    isolation: 'database'
  })
  closers.push(async () => {
    await opened.close()
    await Promise.all([registry, ...measured.map(({ pool }) => pool)].map(pool => pool.end()))
  })
  return { name, work: bySuite(opened), cpu: () => measured.reduce((sum, { cpu }) => sum + cpu(), 0) }
}

function distant (url: string): string {
  return Object.assign(new URL(url), { port: network.port }).href
}

const baseline = hand('pg by hand, unnamed', false)
const entrants: Entrant[] = [
  hand('pg by hand, named', true),
  kysely('Kysely by hand'),
  await suite('rls, custom plans', 'plain', {}),
  await suite('rls, shared plans', 'plain', { plans: 'shared' }),
  await suite('rls signed, custom plans', 'signed', {}),
  await suite('rls signed, shared plans', 'signed', { plans: 'shared' }),
  await suite('rls, role per tenant', 'roles', {}, { rls: { context: 'role' } }),
  await suite('schema', 'plain', {}, { isolation: 'schema' }),
  await databases('database'),
  await suite('row', 'plain', {}, { isolation: 'row', tables: { tenant: ['bare_items'] } }, 'bare_items')
]

const targets: Partial<Record<keyof Work, readonly BenchTarget[]>> = {
  one: [
    { name: 'rls, custom plans', figure: 'p50', atMost: 1.08 },
    { name: 'rls, custom plans', figure: 'p50', atMost: 1.10, against: 'pg by hand, named' },
    { name: 'rls, custom plans', figure: 'serverCpu', atMost: 1.15 },
    { name: 'rls, shared plans', figure: 'p50', atMost: 1.05 },
    { name: 'rls, shared plans', figure: 'p50', atMost: 1.10, against: 'pg by hand, named' },
    { name: 'rls, shared plans', figure: 'serverCpu', atMost: 0.85 },
    { name: 'rls signed, custom plans', figure: 'p50', atMost: 1.15 },
    { name: 'rls signed, shared plans', figure: 'p50', atMost: 1.15 },
    { name: 'rls, role per tenant', figure: 'p50', atMost: 1.15 },
    { name: 'schema', figure: 'p50', atMost: 1.08 },
    { name: 'database', figure: 'p50', atMost: 1.05, against: 'Kysely by hand' },
    { name: 'row', figure: 'p50', atMost: 1.10 }
  ],
  list: entrants.filter(({ name }) => name.startsWith('rls')).map(({ name }) => ({
    name,
    figure: 'p50',
    atMost: 1.08
  }))
}

const tablesOf: string[] = []
for (const kind of kinds.filter(name => picked.length === 0 || picked.includes(name))) {
  process.stderr.write(`${kind}: `)
  const contender = ({ name, work, cpu }: Entrant): Contender => ({
    name,
    run: () => drive(inFlight, work[kind], cpu)
  })
  const result = await race(contender(baseline), entrants.map(contender))
  tablesOf.push(`**${kind}**\n\n${
    markdownTable(result, [
      { figure: 'p50', title: 'p50 ms', digits: 3 },
      { figure: 'serverCpu', title: 'server CPU µs', digits: 0 },
      { figure: 'clientCpu', title: 'client CPU µs', digits: 0 }
    ], targets[kind])
  }`)
}
report(
  'database',
  `${tablesOf.join('\n\n')}\n\n${server.version}, ${inFlight} in flight over the delay proxy`
)

for (const close of closers) await close()
network.stop()
await server.stop()
process.exit()
