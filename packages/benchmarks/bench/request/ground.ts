// One server with two databases, with plain and with signed contexts: tenants with forty rows
// each, in protected and unprotected tables.
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { init } from '@fastify-tenancy/postgres/install'
import { protect } from '@fastify-tenancy/postgres/policies'
import { readFileSync } from 'node:fs'
import pg from 'pg'

import { startPostgres } from '../../../../test/support/services.ts'

export const secret = 'a secret of the benchmarks, 32 characters and more'
export const tables = { tenant: ['items'], shared: [] }

/** The logins of one database. */
export interface Ground {
  /** The suite's login. */
  readonly url: string
  readonly registryUrl: string
  /** The login of hand-written code, which reads `bare_items` and `field_items`. */
  readonly handUrl: string
}

export interface Grounds {
  readonly plain: Ground
  readonly signed: Ground
  readonly version: string
  /** Returns the CPU time of all backends so far, in microseconds. */
  cpu(): Promise<number>
  stop(): Promise<void>
}

export async function startGrounds (tenants: number): Promise<Grounds> {
  const server = await startPostgres()
  const admin = new pg.Client(server.url)
  await admin.connect()
  const { rows: [row] } = await admin.query<{ server_version: string }>('show server_version')
  const grounds: Ground[] = []
  for (const name of ['plain', 'signed']) {
    await admin.query(`create database ${name}`)
    grounds.push(
      await provision(Object.assign(new URL(server.url), { pathname: `/${name}` }).href, name, tenants)
    )
  }
  const [plain, signed] = grounds as [Ground, Ground]
  return {
    plain,
    signed,
    version: `PostgreSQL ${row?.server_version}`,
    async cpu () {
      const { rows } = await admin.query<{ pid: number }>(
        "select pid from pg_stat_activity where datname in ('plain', 'signed')"
      )
      return rows.reduce((sum, { pid }) => sum + cpuOf(pid), 0)
    },
    async stop () {
      await admin.end()
      await server.stop()
    }
  }
}

async function provision (url: string, name: string, tenants: number): Promise<Ground> {
  const client = new pg.Client(url)
  await client.connect()
  const login = { user: `${name}_app`, password: 'secret' }
  const registryLogin = { user: `${name}_registry`, password: 'secret' }
  const hand = { user: `${name}_hand`, password: 'secret' }
  const isSigned = name === 'signed'
  await init(client, {
    logins: { app: login, registry: registryLogin },
    ...(isSigned && { signingSecrets: [secret] })
  })
  await client.query(`
    insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard)
      select 'tenant-' || t, 't' || t, 'T', 'active', 'free', 'rls', 'default'
      from generate_series(1, ${tenants}) t;
    create table bare_tenants (slug text primary key, id text not null);
    insert into bare_tenants select 't' || t, 'tenant-' || t from generate_series(1, ${tenants}) t`)
  for (const table of ['items', 'bare_items', 'field_items']) {
    await client.query(`
      create table ${table} (
        tenant_id text not null, id int not null, title text not null, n int not null default 0,
        primary key (tenant_id, id));
      insert into ${table} (tenant_id, id, title)
        select 'tenant-' || t, i, 'title ' || i
        from generate_series(1, ${tenants}) t, generate_series(1, 40) i`)
  }
  await protect(client, {
    tables: resolveDatabaseOptions({ database: url, tables }).tables,
    signed: isSigned
  })
  await client.query(`
    create role ${hand.user} login password '${hand.password}';
    grant select on bare_items, bare_tenants, field_items to ${hand.user};
    alter table field_items enable row level security;
    create policy own on field_items using (tenant_id = current_setting('app.tenant', true))`)
  await client.query('vacuum analyze')
  await client.end()
  const urlOf = ({ user, password }: { user: string; password: string }): string =>
    Object.assign(new URL(url), { username: user, password }).href
  return { url: urlOf(login), registryUrl: urlOf(registryLogin), handUrl: urlOf(hand) }
}

// CPU time in nanoseconds, from the scheduler. Linux only.
function cpuOf (pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ', 1)[0]) / 1_000
  } catch {
    return 0
  }
}
