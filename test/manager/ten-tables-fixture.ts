// An application of ten tables that does not know about tenants. It runs while its database is
// adopted stage by stage.
import { createManager, type Manager, type ManagerOptions } from '@fastify-tenancy/manager'
import pg from 'pg'
import type { Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { asTenant, connect, loginOf, loginUrl } from '../support/sql.ts'
import { until } from '../support/until.ts'

const tenant = {
  organizations: 'id',
  users: 'org_id',
  labels: 'org_id',
  projects: 'tenant_id',
  tasks: 'tenant_id',
  task_labels: 'tenant_id',
  events: 'tenant_id',
  settings: 'tenant_id',
  audit_log: 'tenant_id'
}
const tables = { tenant: { ...tenant, my_tasks: 'tenant_id' }, shared: ['countries'] }

/** The answers to what `prepare` asks. */
const backfill = {
  events: { sql: '(select org_id from users where users.id = events.user_id)' },
  settings: { sql: '(select id from organizations where organizations.slug = settings.org_slug)' },
  audit_log: { sql: '(select tenant_id from tasks where tasks.id = audit_log.task_id)' }
}

const ddl = `
  create type user_role as enum ('admin', 'member');
  create type event_kind as enum ('seen', 'changed');
  create table organizations (id uuid primary key default gen_random_uuid(), slug citext not null unique,
    name text not null);
  create table users (id uuid primary key default gen_random_uuid(), org_id uuid not null
    references organizations, email citext not null unique, role user_role not null default 'member');
  create table projects (id serial primary key, owner_id uuid not null references users, name text not null);
  create table tasks (id bigserial primary key, project_id int not null
    references projects, title text not null, done bool not null default false);
  create table labels (id serial primary key, org_id uuid not null references organizations,
    name citext not null);
  create table task_labels (task_id bigint not null references tasks, label_id int not null
    references labels, primary key (task_id, label_id));
  create table events (id bigserial, user_id uuid not null, kind event_kind not null, at date not null,
    primary key (id, at)) partition by range (at);
  create table events_2025 partition of events for values from ('2025-01-01') to ('2026-01-01');
  create table events_rest partition of events default;
  create table settings (org_slug citext not null, key text not null, value text, primary key (org_slug,
    key));
  create table audit_log (id bigserial primary key, task_id bigint not null, what text not null);
  create table countries (code text primary key);
  create view open_tasks as select t.id, t.title, p.name as project from tasks t
    join projects p on p.id = t.project_id where not t.done;
  create view my_tasks with (security_invoker) as select id, title from tasks;
  create materialized view project_stats as select project_id, count(*) as tasks from tasks
    group by project_id;
  create function log_task() returns trigger language plpgsql security definer set search_path = public,
    pg_temp as $$ begin insert into audit_log (task_id, what) values (new.id, tg_op); return new; end $$;
  create trigger log_task after insert or update on tasks for each row execute function log_task()`

function rowsOf (count: number): string {
  return `
  insert into organizations (slug, name) select 'org-' || n, 'Org ' || n from generate_series(1, 4) n;
  insert into users (org_id, email) select o.id, o.slug || n || '@example.com' from organizations o,
    generate_series(1, 5) n;
  insert into projects (owner_id, name) select id, 'project of ' || email from users;
  insert into labels (org_id, name) select id, 'Urgent' from organizations;
  insert into tasks (project_id, title) select n % 20 + 1, 'task ' || n from generate_series(1, ${
    count * 0.35
  }) n;
  insert into task_labels select t.id, l.id from tasks t join projects p on p.id = t.project_id
    join users u on u.id = p.owner_id join labels l on l.org_id = u.org_id where t.id <= ${count * 0.1};
  insert into events (user_id, kind, at) select u.id, 'seen', date '2025-06-01' + n % 400 from users u,
    generate_series(1, ${count * 0.01}) n;
  insert into settings select slug, 'theme', 'dark' from organizations;
  insert into countries values ('NL')`
}

/** Rows by table whose tenant differs from the organization that they belong to. */
const wrong = `
  with owned as (select t.id, u.org_id from tasks t join projects p on p.id = t.project_id
    join users u on u.id = p.owner_id)
  select 'projects' as name, count(*)::int as n from projects p join users u on u.id = p.owner_id
    where p.tenant_id is distinct from u.org_id
  union all select 'tasks', count(*)::int from tasks t join owned using (id)
    where t.tenant_id is distinct from owned.org_id
  union all select 'task_labels', count(*)::int from task_labels l join owned on owned.id = l.task_id
    where l.tenant_id is distinct from owned.org_id
  union all select 'audit_log', count(*)::int from audit_log l join owned on owned.id = l.task_id
    where l.tenant_id is distinct from owned.org_id
  union all select 'events', count(*)::int from events e join users u on u.id = e.user_id
    where e.tenant_id is distinct from u.org_id
  union all select 'settings', count(*)::int from settings s join organizations o on o.slug = s.org_slug
    where s.tenant_id is distinct from o.id`

/** Runs the old code: all its statements on the ten tables, in a loop. */
function oldCode (url: string): { stop(): Promise<{ rounds: number; errors: unknown[] }> } {
  const errors: unknown[] = []
  const running = { is: true }
  const client = new pg.Client({ connectionString: url })
  const statements = [
    'select * from open_tasks limit 20',
    'select * from project_stats limit 20',
    "insert into tasks (project_id, title) values (1, 'new'), (20, 'new')",
    'update tasks set done = not done where id = (select max(id) from tasks)',
    'insert into task_labels select t.id, l.id from (select max(t.id) as id, u.org_id from tasks t ' +
    'join projects p on p.id = t.project_id join users u on u.id = p.owner_id group by u.org_id) t ' +
    'join labels l on l.org_id = t.org_id on conflict do nothing',
    "insert into events (user_id, kind, at) select id, 'changed', '2030-01-01' from users limit 2",
    "insert into settings values ('ORG-1', gen_random_uuid()::text, 'x')",
    'refresh materialized view project_stats',
    'select count(*) from audit_log'
  ]
  let rounds = 0
  const ended = (async () => {
    await client.connect()
    for (; running.is; rounds++) {
      for (const statement of statements)
        await client.query(statement).catch((error: unknown) => errors.push({ statement, error }))
    }
  })()
  return {
    async stop () {
      running.is = false
      await ended
      await client.end()
      return { rounds, errors }
    }
  }
}

/** Adopts the application, from no tenants to `enforce`. */
export async function adopt (t: Test, count: number): Promise<void> {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  const [legacy, reports] = [loginUrl(url, 'legacy'), loginUrl(url, 'reports')]
  const { user, password } = loginOf(legacy)
  await admin.query(
    `create extension citext; create role "${user}" login password '${password}'; create role "${
      loginOf(reports).user
    }" login; grant all on schema public to "${user}"`
  )
  await keepOthersOut(admin, url, user)
  const setup = await connect(t, legacy)
  await setup.query(ddl)
  await setup.query(rowsOf(count))
  await setup.query(`grant select on tasks to "${loginOf(reports).user}"`)
  const managerOf = (adoption: NonNullable<ManagerOptions['adoption']>): Manager => {
    const manager = createManager({
      database: { url: loginUrl(url, 'app'), ownerUrl: url },
      tables,
      adoption
    })
    t.teardown(() => manager.close())
    return manager
  }
  const asked = managerOf({})
  await asked.init()
  const code = oldCode(legacy)

  const question = await asked.protect({ stage: 'prepare' }).then(() => '', (error: Error) => error.message)
  for (
    const part of ['decisions are missing', "rows of table 'events'", "rows of table 'settings'",
      "rows of table 'audit_log'", `role '${user}' would lose`,
      `role '${loginOf(reports).user}' would lose tasks`]
  ) t.match(question, part, 'asked for at once')
  t.equal((await columns(admin)).length, 0, 'and nothing was changed')

  // The answers to the questions of the first call are all the input that the stages need.
  const manager = managerOf({
    backfill,
    legacy: { [user]: '2999-12-31', [loginOf(reports).user]: '2999-12-31' },
    lockTimeout: '200ms'
  })
  const { remarks } = await manager.protect({ stage: 'prepare' })
  for (
    const part of ['projects: the tenant of users, by owner_id; 20 rows lack one',
      'task_labels: the tenant of labels, by label_id', 'organizations: its own default, gen_random_uuid()',
      'users: each row has its tenant in org_id already', 'Next: tenancy protect --stage observe']
  ) t.ok(remarks.some(remark => remark.includes(part)), part)
  t.equal((await columns(admin)).length, 6)
  t.match((await manager.protect({ stage: 'observe' })).remarks, [
    /legacy code works as before.*tenancy create --from/s
  ])

  const query = 'select id, slug, name from organizations'
  t.equal((await manager.createFrom({ query })).created.length, 4)
  const stopHook = await followCustomers(t, url, manager, query)
  await setup.query("insert into organizations (slug, name) values ('later', 'Later')")
  await until(async () => await manager.get({ slug: 'later' }) !== undefined)
  await stopHook()
  t.match(await manager.createFrom({ query }), { created: { length: 0 }, existing: 5 }, 'again makes none')

  const breaking = await manager.protect({ stage: 'enforce' }).then(() => '', (error: Error) => error.message)
  for (
    const part of ['view public.open_tasks', 'materialized view public.project_stats',
      'function public.log_task()', 'trigger log_task on public.tasks']
  ) t.match(breaking, part, 'DAT-14 what breaks is named before')
  const { rounds, errors } = await code.stop()
  t.same(errors, [], `no statement of old code failed in ${rounds} rounds`)
  t.ok(rounds > 1)
  await admin.query(
    'alter view open_tasks set (security_invoker = true); drop materialized view project_stats; ' +
      'alter function log_task() security invoker'
  )
  await t.rejects(manager.protect({ stage: 'enforce' }), {
    message: /is still worked on by .* until 2999-12-31/
  })
  t.match((await manager.protect({ stage: 'enforce', force: true })).remarks, [/Next: tenancy doctor/])

  t.same((await admin.query(wrong)).rows.filter(({ n }) => n > 0), [], 'no row has a wrong tenant')
  const { rows: organizations } = await admin.query<{ id: string }>('select id from organizations')
  for (const table of Object.keys(tenant)) {
    let seen = 0
    for (const { id } of organizations) {
      await asTenant(admin, id, async () => {
        seen += (await admin.query(`select count(*)::int as n from ${table}`)).rows[0].n
      })
    }
    const { rows: [all] } = await admin.query(`select count(*)::int as n from ${table}`)
    t.equal(seen, all.n, `each row of ${table} is one tenant's`)
  }
  const [first] = organizations
  await asTenant(admin, first?.id ?? '', async () => {
    await admin.query(
      "insert into tasks (project_id, title) values ((select min(id) from projects), 'by new code')"
    )
    t.equal((await admin.query("select from my_tasks where title = 'by new code'")).rowCount, 1)
    t.equal(
      (await admin.query('select from my_tasks')).rowCount,
      (await admin.query('select from tasks')).rowCount,
      'a listed view shows the rows of the tenant'
    )
  })
  await t.rejects(setup.query('select from tasks'), { code: '42501' })
  const { findings } = await manager.doctor()
  t.same(findings.filter(({ level }) => level === 'error'), [], 'the doctor finds no hole')
  await manager.delete({ slug: 'later' })
  await manager.purge({ slug: 'later' })
  t.equal((await admin.query("select from organizations where slug = 'later'")).rowCount, 0)
}

async function columns (admin: pg.Client): Promise<unknown[]> {
  return (await admin.query(
    "select from pg_attribute a join pg_class c on c.oid = attrelid where attname = 'tenant_id' " +
      "and relkind in ('r', 'p') and not relispartition and relnamespace = 'public'::regnamespace"
  )).rows
}

// The hook of docs/adopting.md: the database notifies of each new customer, and one process creates their
// tenants.
async function followCustomers (
  t: Test,
  url: string,
  manager: Manager,
  query: string
): Promise<() => Promise<void>> {
  const listener = await connect(t, url)
  await listener.query(`
    create function announce_customer() returns trigger language plpgsql as $$ begin notify customers;
    return null; end $$;
    create trigger announce_customer after insert on organizations for each statement
      execute function announce_customer();
    listen customers`)
  let last: Promise<unknown> = Promise.resolve()
  listener.on('notification', () => {
    last = last.then(() => manager.createFrom({ query }))
  })
  return async () => {
    await listener.query('unlisten customers')
    await last
  }
}
import { keepOthersOut } from '../support/keep-others-out.ts'
