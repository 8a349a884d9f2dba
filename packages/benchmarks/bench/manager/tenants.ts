// Issue 15: the doctor and filtered lists over 10,000, 1,000,000 and 2,000,000 tenants. `--
// 100000` is the upper bound.
import { createManager, type Manager } from '@fastify-tenancy/manager'
import type { TenantFilter } from '@fastify-tenancy/core'
import pg from 'pg'

import { startPostgres } from '../../../../test/support/services.ts'
import { markdown, report } from '../../src/report.ts'

const most = Number(process.argv.slice(2).find(argument => /^\d+$/.test(argument)) ?? 2_000_000)
const counts = [10_000, 1_000_000, 2_000_000].filter(count => count <= most)
/** Tenants of the rare plan: fewer than a page. */
const rare = 400
const page = 500

const server = await startPostgres()
const client = new pg.Client({ connectionString: server.url })
await client.connect()
const manager = createManager({
  database: { url: withLogin(server.url, 'app'), ownerUrl: server.url },
  rls: { secret: 'a secret of the benchmark that is long enough' },
  tables: { tenant: 'auto' }
})

function withLogin (url: string, user: string): string {
  return Object.assign(new URL(url), { username: user, password: 'secret' }).href
}

/**
 * Adds rows to the registry without the names that each tenant holds, because neither the doctor
 * nor a list reads names. Builds indexes afterwards and skips the checks of slugs, which would
 * take most of the time. The tenants of the rare plan have the last ids, where a list without an
 * index is slowest.
 */
async function fill (from: number, to: number): Promise<void> {
  const { rows: indexes } = await client.query<{ drop: string; make: string }>(`
    select format('drop index %s', indexrelid::regclass) as drop, pg_get_indexdef(indexrelid) as make
      from pg_index
    where indrelid = 'tenancy.tenants'::regclass and not exists (select from pg_constraint
      where conindid = indexrelid)`)
  for (const { drop } of indexes) await client.query(drop)
  await client.query(
    `alter table tenancy.tenants disable trigger user, drop constraint if exists tenants_slug_check,
    drop constraint if exists tenants_id_check`
  )
  await client.query(
    `insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard)
    select case when n <= $3 then 'z-' else 't-' end || lpad(n::text, 9, '0'), 'slug-' || n, 'n',
      'active', case when n <= $3 then 'rare' else 'free' end, 'rls', 'default'
    from generate_series($1::int, $2::int) n`,
    [from + 1, to, rare]
  )
  await client.query('alter table tenancy.tenants enable trigger user')
  for (const { make } of indexes) await client.query(make)
  await client.query('vacuum analyze tenancy.tenants')
}

/** Returns the fastest of three runs in milliseconds, because the machine also does other work. */
async function fastest (work: () => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let turn = 0; turn < 3; turn++) {
    const start = performance.now()
    await work()
    times.push(performance.now() - start)
  }
  return Math.min(...times)
}

async function examine (manager: Manager): Promise<void> {
  const { findings } = await manager.doctor()
  const wrong = findings.filter(({ id, level }) => level === 'error' && !id.startsWith('D3'))
  if (wrong.length > 0)
    throw new Error(`the benchmark's database is not clean: ${JSON.stringify(wrong.slice(0, 3))}`)
}

async function listed (filter: TenantFilter, most: number): Promise<void> {
  let count = 0
  for await (const _ of manager.list(filter)) {
    if (++count === most) break
  }
  if (count !== most) throw new Error(`the list has ${count} tenants, and not ${most}`)
}

const rows: string[][] = []
let [tenants, first] = [0, 0]
try {
  await manager.init()
  await client.query("alter system set max_wal_size = '8GB'")
  await client.query('select pg_reload_conf()')
  for (const count of counts) {
    await fill(tenants, count)
    tenants = count
    const doctor = await fastest(() => examine(manager))
    const onePage = await fastest(() => listed({}, page))
    const filtered = await fastest(() => listed({ plan: 'rare' }, rare))
    first ||= doctor
    const [slower, ratio] = [doctor / first, filtered / onePage]
    rows.push([
      count.toLocaleString('en'),
      (doctor / 1000).toFixed(2),
      slower.toFixed(1),
      onePage.toFixed(1),
      filtered.toFixed(1),
      ratio.toFixed(2),
      [
        ...(count === 1_000_000 ? [`doctor ≤ 10 × ${slower <= 10 ? '✓' : '**missed**'}`] : []),
        ...(count === 2_000_000 ? ['doctor without an error ✓'] : []),
        ...(count >= 1_000_000 ? [`list ≤ 2 × one page ${ratio <= 2 ? '✓' : '**missed**'}`] : [])
      ].join('; ')
    ])
  }
  report(
    'tenants',
    markdown(
      ['tenants', 'doctor s', `× of ${counts[0]}`, `a page of ${page}, ms`, `the ${rare} of a plan, ms`,
        '× of a page', 'target'],
      rows
    )
  )
} finally {
  await manager.close()
  await client.end()
  await server.stop()
}
process.exit()
