// What each part of `bench:scale` uses: the size of a run, a server, and times.
import type { Isolation, TenantRecord } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import pg from 'pg'

import { startPostgres } from '../../../../test/support/services.ts'
import { quantile } from '../../src/race.ts'

/** The result of a part: a table with a title. */
export interface PartTable {
  readonly title: string
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

/** Measures one part. A short run has a hundredth of the size, and shows that the part works. */
export type Part = (isShort: boolean) => Promise<PartTable>

export interface ScaleServer {
  /** The superuser's URL. */
  readonly url: string
  /** The URL of the application's login. */
  readonly appUrl: string
  readonly admin: pg.Client
  stop(): Promise<void>
}

/** Starts a server whose write-ahead log does not slow down the filling of tables. */
export async function scaleServer (...flags: string[]): Promise<ScaleServer> {
  const server = await startPostgres('-c', 'max_wal_size=8GB', ...flags)
  const admin = new pg.Client({ connectionString: server.url })
  await admin.connect()
  return {
    url: server.url,
    appUrl: withLogin(server.url, 'app'),
    admin,
    async stop () {
      await admin.end()
      await server.stop()
    }
  }
}

export function withLogin (url: string, user: string): string {
  return Object.assign(new URL(url), { username: user, password: 'secret' }).href
}

export async function timed (work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** Runs the work one call at a time. Returns the median and the 99th percentile in ms. */
export async function repeated (
  times: number,
  work: (turn: number) => Promise<unknown>
): Promise<{ readonly p50: number; readonly p99: number }> {
  const taken: number[] = []
  for (let turn = 0; turn < times; turn++) taken.push(await timed(() => work(turn)))
  const sorted = taken.toSorted((a, b) => a - b)
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) }
}

export function scopeOf (tenant: TenantRecord): TenantScope {
  return new TenantScope(tenant, { info () {}, warn () {}, error () {} })
}

/** Inserts tenants `t000000001` and so on with slugs `s-1` and so on, and the names they hold. */
export async function fillRegistry (
  admin: pg.Client,
  from: number,
  to: number,
  isolation: Isolation = 'rls'
): Promise<void> {
  // The triggers would write each name and notify of each tenant, which takes most of the time.
  await admin.query('alter table tenancy.tenants disable trigger user')
  await admin.query(
    `with tenant as (
      insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard, schema_name)
      select 't' || lpad(n::text, 9, '0'), 's-' || n, 'n', 'active', 'free', $3, 'default',
        case when $3 = 'schema' then 'tenant_t' || lpad(n::text, 9, '0') end
      from generate_series($1::int, $2::int) n returning id, slug
    )
    insert into tenancy.names (name, kind, tenant_id)
    select id, 'id', id from tenant union all select slug, 'slug', id from tenant`,
    [from, to, isolation]
  )
  await admin.query('alter table tenancy.tenants enable trigger user')
  await admin.query('vacuum analyze tenancy.tenants, tenancy.names')
}

/** Megabytes of heap in use after garbage collection. */
export function heap (): number {
  const { gc } = globalThis as { gc?: () => void }
  if (gc === undefined) throw new Error('run it with node --expose-gc: npm run bench:scale')
  for (let turn = 0; turn < 3; turn++) gc()
  return process.memoryUsage().heapUsed / 2 ** 20
}

export const count = (value: number): string => value.toLocaleString('en')
