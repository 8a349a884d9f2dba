// One server with two databases, with plain and with signed contexts. Each holds protected tables
// and the same tables without protection.
import { toTenant, memoryRegistry, type TenantRecord } from '@fastify-tenancy/core'
import { tenantIdentifier } from '@fastify-tenancy/core/keys'
import { openDatabase, type DatabaseConnectionOptions, type DatabaseRuntime } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { init } from '@fastify-tenancy/postgres/install'
import { ensureTenantSchema } from '@fastify-tenancy/postgres/placement'
import { protect } from '@fastify-tenancy/postgres/policies'
import { ensureTenantRole } from '@fastify-tenancy/postgres/roles'
import type { Generated } from 'kysely'
import { readFileSync } from 'node:fs'
import pg from 'pg'

import { startPostgres } from '../../../../test/support/services.ts'

export interface Items {
  tenant_id: Generated<string>
  id: Generated<number>
  title: string
  n: Generated<number>
}

export interface Tables {
  items: Items
  bare_items: Items
}

/** Each row of `items` has a tenant and an id from 1 to {@link rowsPerTenant}. */
export const rowsPerTenant = 500
export const tenants: readonly TenantRecord[] = Array.from(
  { length: 100 },
  (_, at) => toTenant({ id: `tenant-${at}`, slug: `slug-${at}` })
)
const registry = memoryRegistry(tenants)
export const secret = 'a secret of the benchmarks, 32 characters and more'
export const tables = { tenant: ['items'], shared: [] }

// The same rows in a schema of the tenant's own, without a tenant column.
const own = `
  create table items (id serial primary key, title text not null, n int not null default 0);
  insert into items (id, title) select i, 'title ' || i from generate_series(1, ${rowsPerTenant}) i;
  select setval(pg_get_serial_sequence('items', 'id'), ${rowsPerTenant})`

export interface BenchDatabase {
  /** URL with the application's login. */
  readonly url: string
  /** URL with a login that owns the unprotected tables. */
  readonly handUrl: string
}

export interface BenchServer {
  /** Database with policies on a plain setting, and a schema for each tenant. */
  readonly plain: BenchDatabase
  readonly signed: BenchDatabase
  /** Database with a role for each tenant. */
  readonly roles: BenchDatabase
  /** Tenants' own databases with the one table and no part of the suite; by their owner's login. */
  readonly own: readonly string[]
  readonly version: string
  stop(): Promise<void>
}

export async function startServer (): Promise<BenchServer> {
  const server = await startPostgres()
  const admin = new pg.Client({ connectionString: server.url })
  await admin.connect()
  const { rows: [row] } = await admin.query<{ server_version: string }>('show server_version')
  for (const name of ['plain', 'signed', 'roles']) await admin.query(`create database ${name}`)
  await admin.query("create role own_app login password 'secret'")
  for (const at of [0, 1, 2, 3]) await admin.query(`create database own_${at} owner own_app`)
  await admin.end()
  return {
    plain: await provision(server.url, 'plain'),
    signed: await provision(server.url, 'signed'),
    roles: await provision(server.url, 'roles'),
    own: await Promise.all([0, 1, 2, 3].map(at => provisionOwn(server.url, `own_${at}`))),
    version: `PostgreSQL ${row?.server_version}`,
    stop: () => server.stop()
  }
}

async function provision (serverUrl: string, name: string): Promise<BenchDatabase> {
  const superUrl = Object.assign(new URL(serverUrl), { pathname: `/${name}` }).href
  const client = new pg.Client({ connectionString: superUrl })
  await client.connect()
  const isSigned = name === 'signed'
  const login = { user: `${name}_app`, password: 'secret' }
  const hand = { user: `${name}_hand`, password: 'secret' }
  await init(client, { logins: { app: login }, ...(isSigned && { signingSecrets: [secret] }) })
  for (const table of ['items', 'bare_items']) {
    await client.query(`
      create table ${table} (tenant_id text not null, id serial, title text not null,
        n int not null default 0, primary key (tenant_id, id));
      insert into ${table} (tenant_id, id, title) select 'tenant-' || t, i, 'title ' || i
        from generate_series(0, ${tenants.length - 1}) t, generate_series(1, ${rowsPerTenant}) i;
      select setval(pg_get_serial_sequence('${table}', 'id'), ${rowsPerTenant})`)
  }
  await protect(client, {
    tables: resolveDatabaseOptions({ database: superUrl, tables }).tables,
    signed: isSigned,
    context: name === 'roles' ? 'role' : 'setting'
  })
  for (const { id } of tenants) {
    if (name === 'roles') await ensureTenantRole(client, id, 'app', login.user)
    if (name === 'plain')
      await ensureTenantSchema(client, {
        id,
        schema: tenantIdentifier(id),
        login: login.user,
        build: async inSchema => {
          await inSchema.query(own)
        }
      })
  }
  await client.query(
    `create role ${hand.user} login password '${hand.password}'; alter table bare_items owner to ${hand.user};
    grant usage on schema tenancy to ${hand.user};
    grant execute on function tenancy.current_lockout_version(), tenancy.current_catalog_epoch(),
      tenancy.current_versions(), tenancy.check_lockout(text, text, text) to ${hand.user}`
  )
  await client.query('vacuum analyze')
  await client.end()
  const urlOf = ({ user, password }: { user: string; password: string }): string =>
    Object.assign(new URL(superUrl), { username: user, password }).href
  return { url: urlOf(login), handUrl: urlOf(hand) }
}

async function provisionOwn (serverUrl: string, name: string): Promise<string> {
  const url =
    Object.assign(new URL(serverUrl), { username: 'own_app', password: 'secret', pathname: `/${name}` }).href
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(own)
  await client.query('vacuum analyze items')
  await client.end()
  return url
}

/** A pool, and the CPU time in µs that its backends have used so far. */
export interface MeasuredPool {
  readonly pool: pg.Pool
  cpu(): number
}

/** @param url as the client sees it; a proxy in between does not affect the measurement. */
export function measuredPool (url: string, max = 10): MeasuredPool {
  const pool = new pg.Pool({ connectionString: url, max, idleTimeoutMillis: 0 })
  pool.on('error', () => {})
  const backends: number[] = []
  pool.on('connect', client => {
    backends.push((client as unknown as { processID: number }).processID)
  })
  return { pool, cpu: () => backends.reduce((sum, pid) => sum + cpuOf(pid), 0) }
}

// CPU time in nanoseconds, from the scheduler, which is finer than the ticks of /proc/<pid>/stat.
function cpuOf (pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ', 1)[0]) / 1_000
  } catch {
    return Number.NaN // not Linux, or the server is elsewhere
  }
}

/** Returns the suite's database on a measured pool, booted. */
export async function openSuite (
  pool: pg.Pool,
  isSigned: boolean,
  database: Partial<DatabaseConnectionOptions> = {},
  more: object = {}
): Promise<DatabaseRuntime> {
  const suite = openDatabase(
    resolveDatabaseOptions({
      database: { url: pool, ...database },
      tables,
      registry,
      ...(isSigned && { rls: { secret } }),
      ...more
    })
  )
  await suite.boot()
  return suite
}
