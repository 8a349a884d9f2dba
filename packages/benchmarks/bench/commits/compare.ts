// Compares two built checkouts in one run:
// `npm run bench:commits -- <folder of the other checkout> [far|loopback|pooled …]`.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import pg from 'pg'

import { startPostgres } from '../../../../test/support/services.ts'
import { far } from '../../src/far.ts'
import { race, type Contender, type Sample } from '../../src/race.ts'
import { report, markdownTable, type BenchTarget } from '../../src/report.ts'
import { startBouncer } from './pgbouncer.ts'
import type { Job } from './worker.ts'

const [other = '', ...picked] = process.argv.slice(2).filter(argument => !argument.startsWith('--'))
if (other === '')
  throw new Error(
    'name the folder of the other checkout, which must be built: npm run bench:commits -- ../before'
  )
const here = join(import.meta.dirname, '../../../..')
const networks = ['far', 'loopback', 'pooled'].filter(name => picked.length === 0 || picked.includes(name))

const server = await startPostgres()
const admin = new pg.Client({ connectionString: server.url })
await admin.connect()
const network = await far(server.url)
const logins = Array.from({ length: 100 }, (_, at) => `app_bench_${at}`)
const bouncer = networks.includes('pooled') ? await startBouncer(server.port, logins) : undefined
const hosts: Readonly<Record<string, string>> = {
  far: `127.0.0.1:${network.port}`,
  loopback: `127.0.0.1:${server.port}`,
  pooled: bouncer?.host ?? ''
}
const children: ChildProcess[] = []
let databases = 0

/** Starts a process that measures a checkout. */
async function start (
  checkout: string,
  job: Omit<Job, 'superUrl'>
): Promise<(piece: string) => Promise<Sample>> {
  const name = `bench_${databases++}`
  await admin.query(`create database ${name}`)
  const superUrl = Object.assign(new URL(server.url), { pathname: `/${name}` }).href
  const child = fork(join(import.meta.dirname, 'worker.ts'), [checkout, JSON.stringify({ ...job, superUrl })])
  children.push(child)
  child.on('exit', code => {
    if (code !== 0 && code !== null) throw new Error(`a process that measures ${checkout} ended with ${code}`)
  })
  await once(child, 'message')
  return async piece => {
    child.send(piece)
    const [sample] = await once(child, 'message') as [Sample]
    return sample
  }
}

interface Setting {
  readonly name: string
  readonly isolation: Job['isolation']
  readonly isSigned: boolean
  readonly pieces: readonly string[]
  /** The greatest allowed ratio of the median times. */
  readonly atMost?: number
}

const harmless = ['one', 'list', 'insert', 'update', 'transaction']
const settings: readonly Setting[] = [
  { name: 'rls', isolation: 'rls', isSigned: false, pieces: harmless, atMost: 1.03 },
  { name: 'rls signed', isolation: 'rls', isSigned: true, pieces: harmless, atMost: 1.03 },
  { name: 'schema', isolation: 'schema', isSigned: false, pieces: ['one', 'list'], atMost: 1.03 },
  { name: 'row', isolation: 'row', isSigned: false, pieces: ['one', 'list'], atMost: 1.03 },
  { name: 'rls, raw SQL of tenants in turn', isolation: 'rls', isSigned: false, pieces: ['raw'] }
]

const texts: string[] = []
for (const place of networks) {
  const rows: string[] = []
  for (const { name, isolation, isSigned, pieces, atMost } of settings) {
    if (place === 'pooled' && isolation !== 'rls') continue
    const job = {
      host: hosts[place] ?? '',
      inFlight: place === 'loopback' ? 16 : 4,
      isolation,
      isSigned,
      database: {}
    }
    const [before, after] = [await start(other, job), await start(here, job)]
    const always = name.includes('raw')
      ? await start(here, { ...job, database: { reset: 'always' } })
      : undefined
    for (const piece of pieces) {
      process.stderr.write(`${place}, ${name}, ${piece}: `)
      const contenders: Contender[] = [{ name: 'this checkout', run: () => after(piece) }]
      if (always !== undefined)
        contenders.push({
          name: "this checkout, reset: 'always'",
          run: () => always(piece)
        })
      const result = await race({ name: 'the other checkout', run: () => before(piece) }, contenders)
      const targets: BenchTarget[] = atMost === undefined || place !== 'far'
        ? []
        : [{ name: 'this checkout', figure: 'p50', atMost }]
      rows.push(`**${name}: ${piece}**\n\n${
        markdownTable(result, [
          { figure: 'p50', title: 'p50 ms', digits: 3 },
          { figure: 'serverCpu', title: 'server CPU µs', digits: 0 },
          { figure: 'clientCpu', title: 'client CPU µs', digits: 0 }
        ], targets)
      }`)
    }
    for (const child of children.splice(0)) {
      child.removeAllListeners('exit')
      child.kill()
    }
  }
  texts.push(`### ${place}\n\n${rows.join('\n\n')}`)
}
report('commits', texts.join('\n\n'))
await bouncer?.stop()
network.stop()
await admin.end()
await server.stop()
process.exit()
