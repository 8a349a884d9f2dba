// A database whose old code does not know about tenants, and that code at work.
import { createManager, type Manager, type ManagerOptions, type Progress } from '@fastify-tenancy/manager'
import pg from 'pg'
import type { Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { keepOthersOut } from '../support/keep-others-out.ts'
import { connect, loginOf, loginUrl } from '../support/sql.ts'

export const acme = '0190f2a4-0000-7000-8000-00000000000a'
export const globex = '0190f2a4-0000-7000-8000-00000000000b'

const ddl = `
  create table organizations (id uuid primary key, name text not null);
  create table users (id int primary key, org_id uuid not null references organizations, name text not null);
  create table projects (id serial primary key, user_id int not null references users, name text not null);
  create table tasks (id serial primary key, project_id int not null
    references projects, title text not null);
  create table events (id bigserial, user_id int not null, at date not null) partition by range (at);
  create table events_2025 partition of events for values from ('2025-01-01') to ('2026-01-01');
  create table events_rest partition of events default;
  create table settings (key text not null, value text);
  create table countries (code text primary key);
  create table accounts (id serial primary key, name text);
  create index on users (org_id)`

const rows = `
  insert into organizations values ('${acme}', 'Acme'), ('${globex}', 'Globex');
  insert into users select n, case n % 2 when 0 then '${acme}'::uuid else '${globex}'::uuid end, 'user ' || n
    from generate_series(0, 9) n;
  insert into projects (user_id, name) select n % 10, 'project ' || n from generate_series(0, 99) n;
  insert into tasks (project_id, title) select n % 100 + 1, 'task ' || n || repeat(' of the old days', 8)
    from generate_series(0, 9999) n;
  insert into events (user_id, at) select n % 10, date '2025-06-01' + n % 400 from generate_series(0, 999) n;
  insert into settings values ('theme', 'dark')`

export interface Old {
  readonly url: string
  readonly admin: pg.Client
  /** The login of the old code, which owns the tables. */
  readonly legacy: string
  readonly manager: Manager
  readonly progress: Progress[]
}

export const tables = {
  tenant: {
    organizations: 'id',
    users: 'org_id',
    projects: 'tenant_id',
    tasks: 'tenant_id',
    events: 'tenant_id',
    settings: 'tenant_id'
  }
}
export const backfill = {
  events: { sql: '(select org_id from users where users.id = events.user_id)' },
  settings: { value: acme }
}

export async function old (t: Test, options: Partial<ManagerOptions> = {}): Promise<Old> {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  const legacy = loginUrl(url, 'legacy')
  const { user, password } = loginOf(legacy)
  await admin.query(
    `create role "${user}" login password '${password}'; grant all on schema public to "${user}"`
  )
  await keepOthersOut(admin, url, user)
  const code = await connect(t, legacy)
  await code.query(ddl)
  await code.query(rows)
  const progress: Progress[] = []
  const manager = createManager({
    database: { url: loginUrl(url, 'app'), ownerUrl: url },
    tables: { ...tables, shared: ['countries'], global: ['accounts'] },
    ...options,
    adoption: { backfill, lockTimeout: '200ms', legacy: { [user]: '2999-12-31' }, ...options.adoption },
    progress: options.progress ?? (event => {
      progress.push(event)
    })
  })
  t.teardown(() => manager.close())
  await manager.init()
  await keepOthersOut(admin, url, loginOf(loginUrl(url, 'app')).user)
  return { url, admin, legacy, manager, progress }
}

export const shape = `select c.relname as "table", a.attnotnull as required, t.typname as type,
    exists (select from pg_index where indrelid = c.oid and indkey[0] = a.attnum and indisvalid) as indexed,
    exists (select from pg_constraint where conrelid = c.oid and conname = 'tenancy_filled') as checked
  from pg_class c join pg_attribute a on a.attrelid = c.oid join pg_type t on t.oid = a.atttypid
  where c.relname in ('projects', 'tasks', 'events', 'settings') and a.attname = 'tenant_id' order by 1`
export const prepared = ['events', 'projects', 'settings', 'tasks'].map(table => ({
  table,
  required: true,
  type: 'uuid',
  indexed: true,
  checked: false
}))

export const wrong = `select
  (select count(*)::int from projects p join users u on u.id = p.user_id
    where p.tenant_id is distinct from u.org_id) as projects,
  (select count(*)::int from tasks t join projects p on p.id = t.project_id
    where t.tenant_id is distinct from p.tenant_id) as tasks,
  (select count(*)::int from events e join users u on u.id = e.user_id
    where e.tenant_id is distinct from u.org_id) as events,
  (select count(*)::int from settings where tenant_id is distinct from '${acme}') as settings`
export const none = { projects: 0, tasks: 0, events: 0, settings: 0 }

export interface OldCode {
  /** Number of rounds that the old code has completed. */
  readonly count: number
  stop(): Promise<{ readonly count: number; readonly errors: unknown[] }>
}

/** Runs the old code: it reads, inserts and updates without naming a tenant. */
export async function work (url: string): Promise<OldCode> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const errors: unknown[] = []
  const running = { is: true }
  let count = 0
  const ended = (async () => {
    while (running.is) {
      try {
        await client.query('select count(*) from tasks where project_id = 5')
        await client.query("insert into projects (user_id, name) values (3, 'new')")
        await client.query(
          "insert into tasks (project_id, title) values ((select max(id) from projects), 'new'), (2, 'new')"
        )
        await client.query("insert into events (user_id, at) values (4, '2025-07-01'), (5, '2030-01-01')")
        await client.query("update tasks set title = title || '.' where id = (select max(id) from tasks)")
      } catch (error) {
        errors.push(error)
      }
      count++
      // A pause between rounds, because a real application also does other work.
      await client.query('select pg_sleep(0.005)')
    }
  })()
  return {
    get count () {
      return count
    },
    async stop () {
      running.is = false
      await ended
      await client.end()
      return { count, errors }
    }
  }
}
