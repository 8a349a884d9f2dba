// Strategy rls on existing tables: every type of the tenant column, tables that it finds itself,
// and tables without the column.
import { toTenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type TablesOptions, type DatabaseRuntime } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import { signingKey, signToken } from '@fastify-tenancy/postgres/context-token'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import { sql, type Generated, type Kysely } from 'kysely'
import type pg from 'pg'
import t, { type Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, databaseOf, loginUrl } from '../support/sql.ts'
import { secret, silent } from './strategy-fixture.ts'

interface Tables {
  items: { id: Generated<number>; body: string }
  projects: { id: Generated<number>; name: string }
  tasks: { id: Generated<number>; project_id: number; title: string; assignee_id: number | null }
  labels: { task_id: number; label: string }
  people: { id: Generated<number>; name: string }
}

async function prepare (
  t: Test,
  ddl: string,
  tables: TablesOptions
): Promise<
  {
    admin: pg.Client
    superUrl: string
    options: object
    protect: () => Promise<void>
    open: () => Promise<DatabaseRuntime>
  }
> {
  const superUrl = await freshDatabase(t)
  const admin = await connect(t, superUrl)
  await admin.query(ddl)
  const options = {
    database: { url: loginUrl(superUrl, 'app'), ownerUrl: superUrl, pool: { max: 1 } },
    rls: { secret },
    tables
  }
  const manager = createManager(options)
  t.teardown(() => manager.close())
  await manager.init()
  await manager.protect()
  return {
    admin,
    superUrl,
    options,
    protect: async () => {
      await manager.protect()
    },
    async open () {
      const database = openDatabase(resolveDatabaseOptions(options))
      t.teardown(() => database.close())
      await database.boot()
      return database
    }
  }
}

function handle (t: Test, database: DatabaseRuntime, id: string): Kysely<Tables> {
  const scope = new TenantScope(toTenant({ id, slug: `slug-of-${id.toLowerCase()}` }), silent)
  t.teardown(() => scope.abort())
  return database.forScope(scope) as unknown as Kysely<Tables>
}

const types = {
  text: ['acme', 'globex'],
  uuid: ['0190f2a4-0000-7000-8000-00000000000a', '0190f2a4-0000-7000-8000-00000000000b'],
  int: ['1', '2'],
  bigint: ['9000000001', '9000000002']
} as const

for (const [type, [one, two]] of Object.entries(types)) {
  t.test(`a tenant column of type ${type}, through request.db`, async t => {
    const { admin, open } = await prepare(
      t,
      `create table items (tenant_id ${type} not null, id serial, body text not null, ` +
        'primary key (tenant_id, id))',
      { tenant: ['items'] }
    )
    const database = await open()
    const [a, b] = [handle(t, database, one), handle(t, database, two)]
    await a.insertInto('items').values([{ body: 'a:1' }, { body: 'a:2' }]).execute()
    await b.insertInto('items').values({ body: 'b:1' }).execute()
    t.same(await a.selectFrom('items').select('body').orderBy('body').execute(), [{ body: 'a:1' }, {
      body: 'a:2'
    }])
    t.same(await b.updateTable('items').set({ body: 'b:2' }).returning('body').execute(), [{ body: 'b:2' }])
    t.same(await b.selectFrom('items').selectAll().where('body', '=', 'a:1').execute(), [])
    t.same(
      (await a.selectFrom('items').selectAll().execute()).length,
      2,
      'the tripwire knows the id as the server writes it'
    )
    t.same(
      await a.mergeInto('items').using('items as other', 'other.id', 'items.id').whenMatched().thenUpdateSet({
        body: 'a:3'
      }).executeTakeFirst(),
      { numChangedRows: 2n }
    )
    await t.rejects(sql`insert into items (tenant_id, body) values (${two}, 'planted')`.execute(a), {
      code: '42501'
    })
    t.same(await a.deleteFrom('items').returning('body').execute(), [{ body: 'a:3' }, { body: 'a:3' }])
    t.same((await admin.query('select tenant_id::text as tenant, body from items')).rows, [{
      tenant: two,
      body: 'b:2'
    }])
  })
}

const family = `
  create table projects (tenant_id text not null, id int generated always as identity primary key,
    name text not null);
  create table people (tenant_id text not null, id int generated always as identity primary key,
    name text not null);
  create table tasks (id int generated always as identity primary key, project_id int not null
    references projects on delete cascade, title text not null, assignee_id int references people);
  create table labels (task_id int not null references tasks on delete cascade, label text not null,
    primary key (task_id, label));
  create index on tasks (project_id)`

async function fill (
  db: Kysely<Tables>,
  name: string
): Promise<{ project: number; task: number; person: number }> {
  const { id: project } = await db.insertInto('projects').values({ name: `${name}:p` }).returning('id')
    .executeTakeFirstOrThrow()
  const { id: person } = await db.insertInto('people').values({ name: `${name}:h` }).returning('id')
    .executeTakeFirstOrThrow()
  const { id: task } = await db.insertInto('tasks').values({
    project_id: project,
    title: `${name}:t`,
    assignee_id: person
  }).returning('id').executeTakeFirstOrThrow()
  await db.insertInto('labels').values({ task_id: task, label: `${name}:l` }).execute()
  return { project, task, person }
}

t.test('tables without the tenant column belong to whom their parents belong', async t => {
  const { admin, superUrl, open, options } = await prepare(t, family, {
    tenant: ['projects', 'people', 'tasks', 'labels']
  })
  const database = await open()
  const [a, b] = [handle(t, database, 'acme'), handle(t, database, 'globex')]
  const own = await fill(a, 'acme')
  const other = await fill(b, 'globex')

  t.same(await a.selectFrom('tasks').select('title').execute(), [{ title: 'acme:t' }])
  t.same(await a.selectFrom('labels').select('label').execute(), [{ label: 'acme:l' }], 'a grandchild')
  t.same(
    await b.selectFrom('labels').innerJoin('tasks', 'tasks.id', 'labels.task_id').select(['label', 'title'])
      .execute(),
    [{ label: 'globex:l', title: 'globex:t' }]
  )
  t.same(
    await a.updateTable('tasks').set({ title: 'stolen' }).where('id', '=', other.task).returning('id')
      .execute(),
    []
  )
  t.same(await a.deleteFrom('labels').where('label', '=', 'globex:l').returning('label').execute(), [])
  await t.rejects(
    a.insertInto('tasks').values({ project_id: other.project, title: 'x' } as never).execute(),
    { code: '42501' },
    "RLS-10 a child of another tenant's row"
  )
  await t.rejects(a.updateTable('tasks').set({ project_id: other.project }).execute(), { code: '42501' })
  await t.rejects(
    a.updateTable('tasks').set({ assignee_id: other.person }).execute(),
    { code: '42501' },
    'every key to a tenant table is checked, not the first alone'
  )
  await t.rejects(a.insertInto('labels').values({ task_id: other.task, label: 'x' }).execute(), {
    code: '42501'
  })
  t.same(await a.updateTable('tasks').set({ assignee_id: null }).returning('title').execute(), [{
    title: 'acme:t'
  }], 'a key that may be null may be null')
  t.ok(own.task)

  await t.test('injected SQL gets no further than on the parent', async t => {
    const rows =
      await sql`select set_config('tenancy.tenant', 'globex', true), query_to_xml('select * from tasks', true,
        true, '')::text as xml`
        .execute(a)
    t.notMatch(JSON.stringify(rows.rows), /globex:t/)
  })

  await t.test("the plans use the keys' indexes, so a query reads no rows of others", async t => {
    await admin.query(`
      insert into projects (tenant_id, name) select 'big' || n % 50, 'p' from generate_series(1, 2000) n;
      insert into tasks (project_id, title) select id, 't' from projects, generate_series(1, 20)
        where name = 'p';
      analyze projects, tasks`)
    const { app } = rolesOf(databaseOf(superUrl))
    const plan = async (text: string, values: unknown[]): Promise<string> => {
      await admin.query('begin')
      await admin.query(
        "select set_config('role', $1, true), set_config('tenancy.tenant', 'acme', true), " +
          "set_config('tenancy.token', $2, true)",
        [app, signToken({ key: signingKey(secret), tenant: 'acme' })]
      )
      const { rows } = await admin.query<{ 'QUERY PLAN': string }>(
        `explain (analyze, timing off, buffers off) ${text}`,
        values
      )
      await admin.query('rollback')
      return rows.map(row => row['QUERY PLAN']).join('\n')
    }
    const one = await plan('select * from tasks where id = $1', [own.task])
    t.match(one, /Index Scan using tasks_pkey/)
    // The planner has two forms of EXISTS: a lookup by the key's index for each row, or one scan of
    // all parents of the tenant.
    t.match(one, /Index (Only )?Scan using projects_(pkey|tenant_id_idx)/)
    t.notMatch(one, /Seq Scan/)
    const children = await plan(
      'select tasks.* from projects join tasks on tasks.project_id = projects.id where projects.id = $1',
      [own.project]
    )
    t.match(children, /tasks_project_id_idx/)
    t.notMatch(children, /Seq Scan on tasks/)
  })

  t.test('a boot finds an unprotected child', async t => {
    await admin.query('alter table labels no force row level security')
    const again = openDatabase(resolveDatabaseOptions(options))
    t.teardown(() => again.close())
    await t.rejects(again.boot(), { code: 'FST_TENANCY_SETUP_INVALID', message: /'labels' is not protected/ })
  })
})

t.test('a listed table with neither the column nor a required key to a tenant table is refused', async t => {
  await t.rejects(
    prepare(t, 'create table items (id serial primary key, body text not null)', { tenant: ['items'] }),
    { code: 'FST_TENANCY_SETUP_INVALID', message: /has no column 'tenant_id'/ }
  )
  await t.rejects(
    prepare(
      t,
      'create table projects (tenant_id text not null, id int primary key); ' +
        'create table items (id serial primary key, project_id int references projects)',
      { tenant: ['projects', 'items'] }
    ),
    { code: 'FST_TENANCY_SETUP_INVALID' },
    'a key that may be null says nothing of a row without it'
  )
})

t.test("tables.tenant 'auto': every table of the schema with the column, at protect and at boot", async t => {
  const { admin, protect, open, options } = await prepare(
    t,
    `
    create table items (tenant_id text not null, id serial, body text not null, primary key (tenant_id, id));
    create table projects (tenant_id text not null,
      id serial primary key, name text not null) partition by hash (id);
    create table countries (code text primary key, tenant_id text);
    create table unlisted (secret text)`.replace(
      'serial primary key, name text not null) partition by hash (id)',
      'serial, name text not null) partition by hash (tenant_id); ' +
        'create table projects_0 partition of projects for values with (modulus 1, remainder 0)'
    ),
    { tenant: 'auto', shared: ['countries'] }
  )
  const { rows } = await admin.query(
    'select relname from pg_class where relforcerowsecurity order by relname'
  )
  t.same(rows.map(row => row.relname), ['items', 'projects'])
  const database = await open()
  const [a, b] = [handle(t, database, 'acme'), handle(t, database, 'globex')]
  for (const [db, name] of [[a, 'acme'], [b, 'globex']] as const) {
    await db.insertInto('items').values({ body: `${name}:1` }).execute()
    await db.insertInto('projects').values({ name: `${name}:1` }).execute()
    t.same(await db.selectFrom('items').select('body').execute(), [{ body: `${name}:1` }])
    t.same(await db.selectFrom('projects').select('name').execute(), [{ name: `${name}:1` }])
  }
  await t.rejects(sql`select * from unlisted`.execute(a), { code: '42501' })
  await admin.query('create table people (tenant_id text not null, id serial, name text)')
  const again = openDatabase(resolveDatabaseOptions(options))
  t.teardown(() => again.close())
  await t.rejects(
    again.boot(),
    { message: /'people' is not protected/ },
    'a table that came later is noticed'
  )
  await protect()
  await t.resolves(again.boot())
})
