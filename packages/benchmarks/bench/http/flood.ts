// FLD-01: how a flood of invented names from four addresses affects an active tenant.
// `BENCH_MS=6000` makes the first flood 100,000 names in all.
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { init } from '@fastify-tenancy/postgres/install'
import { protect } from '@fastify-tenancy/postgres/policies'
import { Agent, get } from 'node:http'
import pg from 'pg'

import { startFloodedApp, startFlooder } from '../../../../test/support/flood.ts'
import { startPostgres, startRedis } from '../../../../test/support/services.ts'
import { race, sliceMs, type Contender } from '../../src/race.ts'
import { markdown, report, markdownTable } from '../../src/report.ts'
import { drive } from '../../src/workers.ts'

const secret = 'a secret of the benchmarks, 32 characters and more'
const [postgres, redis] = await Promise.all([startPostgres(), startRedis()])
const login = { user: 'bench_app', password: 'secret' }
const registryLogin = { user: 'bench_registry', password: 'secret' }
const client = new pg.Client(postgres.url)
await client.connect()
await init(client, { logins: { app: login, registry: registryLogin }, signingSecrets: [secret] })
await client.query(`
  create table notes (tenant_id text not null, id serial, body text not null, primary key (tenant_id, id));
  insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard)
    values ('id-acme', 'acme', 'Acme', 'active', 'free', 'rls', 'default');
  insert into notes (tenant_id, body) select 'id-acme', 'note ' || n from generate_series(1, 20) n`)
await protect(client, {
  tables: resolveDatabaseOptions({ database: postgres.url, tables: { tenant: ['notes'] } }).tables,
  signed: true
})
await client.end()

const urlOf = ({ user, password }: { user: string; password: string }): string =>
  Object.assign(new URL(postgres.url), { username: user, password }).href
const { port, state, child } = await startFloodedApp({
  url: urlOf(login),
  registryUrl: urlOf(registryLogin),
  secret,
  redis: redis.url,
  table: 'notes',
  latency: 0
})
const flooder = startFlooder(port, ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5'])
const agent = new Agent({ keepAlive: true, maxSockets: 4 })

/** Sends a request of the tenant: a signed statement of twenty rows. */
function ask (): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  get({ host: '127.0.0.1', port, agent, headers: { host: 'acme.example.com' } }, response => {
    if (response.statusCode !== 200) reject(new Error(`the tenant was answered ${response.statusCode}`))
    response.resume().on('end', resolve)
  }).on('error', reject)
  return promise
}

const rows: string[][] = []

function flooded (perSecond: number): Contender {
  const name = `in a flood of ${perSecond.toLocaleString('en')} names a second`
  const total = { names: 0, misses: 0, grown: 0 }
  rows.push([name, '', '', ''])
  const row = rows.length - 1
  return {
    name,
    async run () {
      const before = await state()
      const count = Math.round(perSecond * sliceMs / 1_000)
      const [sample] = await Promise.all([drive(4, ask), flooder.send({ count, perSecond })])
      const after = await state()
      total.names += count
      total.misses += after.misses - before.misses
      total.grown += after.heap - before.heap
      rows[row] = [name, total.names.toLocaleString('en'), total.misses.toLocaleString('en'),
        total.grown.toFixed(1)]
      return sample
    }
  }
}

const result = await race({ name: 'alone', run: () => drive(4, ask) }, [flooded(1_667), flooded(6_667)])
agent.destroy()
for (const process of [child, flooder.child]) process.kill()
await Promise.all([postgres.stop(), redis.stop()])
report(
  'flood',
  `${
    markdownTable(result, [
      { figure: 'p50', title: 'p50 ms' },
      { figure: 'p99', title: 'p99 ms' },
      { figure: 'perSecond', title: 'requests/s', digits: 0 }
    ])
  }\n\n${
    markdown(['', 'names in all', 'look-ups in the registry', 'heap grown by, MB'], rows)
  }\n\nThe tenant: 4 requests at a time; the flood: 4 addresses, as many as 1,024 requests on their way`
)
process.exit()
