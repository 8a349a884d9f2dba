// Issue 24: the console's pages over 100,000 tenants, in server time. `-- 10000` for another number
// of tenants.
import tenancyConsole from '@fastify-tenancy/console'
import { createManager } from '@fastify-tenancy/manager'
import Fastify from 'fastify'
import tenancy from 'fastify-tenancy'
import pg from 'pg'

import { startPostgres } from '../../../../test/support/services.ts'
import { markdown, report } from '../../src/report.ts'

const tenants = Number(process.argv.slice(2).find(argument => /^\d+$/.test(argument)) ?? 100_000)
const turns = 20
/** The promise, of the first page, in milliseconds. */
const most = 300

const server = await startPostgres()
const client = new pg.Client({ connectionString: server.url })
await client.connect()
const withLogin = (user: string): string =>
  Object.assign(new URL(server.url), { username: user, password: 'secret' }).href
const settings = {
  rls: { secret: 'a secret of the benchmark that is long enough' },
  tables: { tenant: [] }
}
const urls = { url: withLogin('app'), registryUrl: withLogin('registry') }
const manager = createManager({ ...settings, database: { ...urls, ownerUrl: server.url } })
await manager.init()
// Names are held row by row, by triggers: they are left out, as the pages do not read them.
await client.query('alter table tenancy.tenants disable trigger user')
await client.query(
  `insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard)
  select 't-' || lpad(n::text, 9, '0'), 'slug-' || n, 'Company ' || n, case when n % 1000 = 0 then 'suspended'
    else 'active' end,
    'free', 'rls', 'default' from generate_series(1, $1::int) n`,
  [tenants]
)
await client.query('alter table tenancy.tenants enable trigger user')
await client.query('vacuum analyze tenancy.tenants')

const app = Fastify()
await app.register(tenancy, { ...settings, baseDomain: 'example.com', database: urls })
await app.register(tenancyConsole, { prefix: '/_tenancy', manager, authorize: () => 'bench' })
await app.ready()

/** The first call, the median and the slowest of the following ones, in milliseconds. */
async function times (url: string): Promise<readonly [first: number, median: number, slowest: number]> {
  const all: number[] = []
  for (let turn = 0; turn <= turns; turn++) {
    const start = performance.now()
    const { statusCode, body } = await app.inject({ url: `/_tenancy${url}` })
    all.push(performance.now() - start)
    if (statusCode !== 200 || !body.includes('</html>')) throw new Error(`${url}: ${statusCode}`)
  }
  const [first = 0, ...rest] = all
  const sorted = rest.toSorted((a, b) => a - b)
  return [first, sorted[turns / 2] ?? 0, sorted.at(-1) ?? 0]
}

try {
  const rows: string[][] = []
  for (
    const [what, url] of [['first page', '/'], ['a page in the middle', '/?slug=slug-55&id=t-000000055'], [
      'suspended ones',
      '/?status=suspended'
    ], ['a search that finds 50', '/?q=slug-99'], ['a search that finds none', '/?q=nobody']] as const
  ) {
    const [first, median, slowest] = await times(url)
    const isKept = Math.max(first, slowest) < most
    rows.push([
      what,
      first.toFixed(0),
      median.toFixed(0),
      slowest.toFixed(0),
      what === 'first page' ? `under ${most} ms ${isKept ? '✓' : '**missed**'}` : ''
    ])
  }
  report(
    'console',
    markdown([`of ${tenants.toLocaleString('en')} tenants`, 'first call ms', 'median ms', 'slowest ms',
      'target'], rows)
  )
} finally {
  await app.close()
  await manager.close()
  await client.end()
  await server.stop()
}
process.exit()
