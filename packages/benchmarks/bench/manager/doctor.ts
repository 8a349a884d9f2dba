// Issue 6: all checks of the doctor over 10,000 tables, in seconds: tables that tenants share, and
// as many in schemas of tenants. `-- 1000` for fewer.
import { createManager } from '@fastify-tenancy/manager'
import { protect } from '@fastify-tenancy/postgres/policies'
import pg from 'pg'

import { startPostgres } from '../../../../test/support/services.ts'
import { markdown, report } from '../../src/report.ts'

const count = Number(process.argv.slice(2).find(argument => /^\d+$/.test(argument)) ?? 10_000)
const perSchema = 10
const target = 30

const server = await startPostgres()

async function opened (name: string): Promise<{ url: string; client: pg.Client }> {
  const admin = new pg.Client({ connectionString: server.url })
  await admin.connect()
  await admin.query(`create database ${name}`)
  await admin.end()
  const url = server.url.replace(/postgres$/, name)
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  return { url, client }
}

function withLogin (url: string, user: string): string {
  return Object.assign(new URL(url), { username: user, password: 'secret' }).href
}

/**
 * Creates tables as `protect` leaves them. It would take minutes here, so it protects one to copy.
 */
async function sharedTables (): Promise<number> {
  const { url, client } = await opened('shared_tables')
  const manager = createManager({
    database: { url: withLogin(url, 'app_one'), ownerUrl: url },
    rls: { secret: 'a secret of the benchmark that is long enough' },
    tables: { tenant: 'auto' }
  })
  await manager.init()
  await client.query(
    `create table t_0 (tenant_id uuid not null, id int generated always as identity, body text,
      primary key (tenant_id, id))`
  )
  await protect(client, {
    tables: { tenant: { t_0: 'tenant_id' }, shared: [], global: [], schema: 'public' },
    signed: true
  })
  const { rows: [row] } = await client.query<{ like: string }>(`
    select format('create table %1$s (like t_0 including all); alter table %1$s owner to %2$I; '
        || 'alter table %1$s enable row level security; alter table %1$s force row level security;',
        'NAME', tableowner)
      || (select string_agg(format('create policy %I on %s to %s using (%s) with check (%s);',
        policyname, 'NAME', (select string_agg(quote_ident(r), ', ') from unnest(roles) r), qual,
        with_check), '') from pg_policies where tablename = 't_0')
      || (select string_agg(format('grant %s on %s to %s;', a.privilege_type, 'NAME',
        a.grantee::regrole), '') from pg_class c, aclexplode(c.relacl) a
        where c.relname = 't_0' and a.grantee <> c.relowner) as like
    from pg_tables where tablename = 't_0'`)
  const like = row?.like ?? ''
  for (let first = 1; first < count; first += 200) {
    const names = Array.from({ length: Math.min(200, count - first) }, (_, index) => `t_${first + index}`)
    await client.query(names.map(name => like.replaceAll('NAME', name)).join(''))
  }
  await client.query('analyze')
  const seconds = await examined(manager)
  await client.end()
  return seconds
}

async function schemas (): Promise<number> {
  const { url, client } = await opened('schemas')
  const manager = createManager({
    database: { url: withLogin(url, 'app_two'), ownerUrl: url },
    isolation: 'schema'
  })
  await manager.init()
  for (let first = 0; first < count / perSchema; first += 50) {
    await client.query(`do $$
      declare suffix text := '_' || substr(md5(current_database()), 1, 8);
      begin
        for s in ${first}..${Math.min(first + 50, count / perSchema) - 1} loop
          execute format('create role %1$I; grant %2$I to %1$I with inherit true, set false; '
            || 'grant %1$I to app_two with inherit false', 'tenant_n' || s || suffix,
              'tenancy_shared' || suffix);
          execute format('create schema %1$I authorization %2$I; comment on schema %1$I is %3$L; '
            || 'grant usage on schema %1$I to %4$I', 'tenant_n' || s, 'tenancy_owner' || suffix,
            'fastify-tenancy: tenant n' || s, 'tenant_n' || s || suffix);
          insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard)
            values ('n' || s, 'slug-' || s, 'n', 'active', 'default', 'schema', 'default');
          for t in 1..${perSchema} loop
            execute format('create table %1$I.t_%2$s (id int primary key, body text); '
              || 'alter table %1$I.t_%2$s owner to %3$I; '
              || 'grant select, insert, update, delete on %1$I.t_%2$s to %4$I', 'tenant_n' || s, t,
              'tenancy_owner' || suffix, 'tenant_n' || s || suffix);
          end loop;
        end loop;
      end $$`)
  }
  await client.query('analyze')
  const seconds = await examined(manager)
  await client.end()
  return seconds
}

async function examined (manager: ReturnType<typeof createManager>): Promise<number> {
  const start = performance.now()
  const { findings } = await manager.doctor()
  const seconds = (performance.now() - start) / 1000
  const wrong = findings.filter(({ id, level }) => level !== 'info' && id !== 'D310')
  if (wrong.length > 0)
    throw new Error(`what was made for the benchmark is not clean: ${JSON.stringify(wrong.slice(0, 3))}`)
  await manager.close()
  return seconds
}

const verdict = (seconds: number): string => `under ${target} s ${seconds < target ? '✓' : '**missed**'}`
const rows: string[][] = []
try {
  for (
    const [name, work] of [[`${count} tables that tenants share, signed policies`, sharedTables], [
      `${count} tables in ${count / perSchema} schemas`,
      schemas
    ]] as const
  ) {
    const seconds = await work()
    rows.push([name, seconds.toFixed(1), verdict(seconds)])
  }
  report('doctor', markdown(['all checks over', 's', 'target'], rows))
} finally {
  await server.stop()
}
process.exit()
