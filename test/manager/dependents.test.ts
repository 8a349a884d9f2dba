// Objects outside a tenant's schema that depend on it: a drop that would remove them is refused by
// their names.
import { tenantRole } from '@fastify-tenancy/core/keys'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { isLong } from '../support/long.ts'
import { connect, databaseOf } from '../support/sql.ts'
import { idFor, lifecycleFixture } from './lifecycle-fixture.ts'

const conflict = (message: RegExp): { code: string; message: RegExp } => ({
  code: 'FST_TENANCY_TENANT_CONFLICT',
  message
})

const outside: Readonly<
  Record<string, { readonly make: string; readonly named: string; readonly drop: string }>
> = {
  'a column of a type of the schema': {
    make:
      "create type S.mood as enum ('sad', 'happy'); create table orders (id int primary key, mood S.mood)",
    named: 'table column public.orders.mood',
    drop: 'alter table orders drop column mood'
  },
  "a column of a table's row type": {
    make: 'create table kept (project S.projects)',
    named: 'table column public.kept.project',
    drop: 'drop table kept'
  },
  'a column of a domain': {
    make: 'create domain S.score as int; create table games (n S.score[])',
    named: 'table column public.games.n',
    drop: 'drop table games'
  },
  'a default': {
    make: "create function S.next () returns int language sql as 'select 1'; " +
      'create table numbers (n int default S.next())',
    named: 'default value for public.numbers.n',
    drop: 'alter table numbers alter n drop default'
  },
  'a generated column': {
    make: "create function S.twice (int) returns int immutable language sql as 'select 2 * $1'; " +
      'create table doubles (n int, m int generated always as (S.twice(n)) stored)',
    named: 'public.doubles.m',
    drop: 'alter table doubles drop column m'
  },
  'a view': {
    make: 'create view report as select count(*) from S.tasks',
    named: 'view public.report',
    drop: 'drop view report'
  },
  'a materialized view': {
    make: 'create materialized view totals as select count(*) from S.tasks',
    named: 'materialized view public.totals',
    drop: 'drop materialized view totals'
  },
  'a function with a SQL body': {
    make: 'create function tasks_now () returns bigint begin atomic select count(*) from S.tasks; end',
    named: 'function public.tasks_now()',
    drop: 'drop function tasks_now'
  },
  'a foreign key of a shared table': {
    make: 'create table invoices (id int primary key, project int references S.projects)',
    named: 'table constraint invoices_project_fkey on public.invoices',
    drop: 'alter table invoices drop constraint invoices_project_fkey'
  },
  'an extension': {
    make: 'create extension citext schema S',
    named: 'extension citext',
    drop: 'alter extension citext set schema public'
  },
  'a trigger': {
    make: "create function S.stamp () returns trigger language plpgsql as 'begin return new; end'; " +
      'create table stamped (n int); create trigger stamp before insert on stamped for each row ' +
      'execute function S.stamp()',
    named: 'trigger stamp on public.stamped',
    drop: 'drop trigger stamp on stamped'
  },
  'a policy': {
    make: "create function S.may () returns bool stable language sql as 'select true'; " +
      'create table guarded (n int); create policy p on guarded using (S.may())',
    named: 'policy p on public.guarded',
    drop: 'drop policy p on guarded'
  },
  'a partition': {
    make: 'create table S.log (n int) partition by range (n); alter table S.log owner to OWNER; ' +
      'create table log_old partition of S.log for values from (0) to (10)',
    named: 'table public.log_old',
    drop: 'alter table S.log detach partition log_old'
  },
  'a child by inheritance': {
    make: 'create table more_tasks (extra text) inherits (S.tasks)',
    named: 'table public.more_tasks',
    drop: 'alter table more_tasks no inherit S.tasks'
  },
  'an index over a function of the schema': {
    make: "create function S.low (text) returns text immutable language sql as 'select lower($1)'; " +
      'create table words (w text); create index words_low on words (S.low(w))',
    named: 'index public.words_low',
    drop: 'drop index words_low'
  }
}

t.test('DAT-01 a schema that an outside object needs is not dropped, and the object is named', async t => {
  const world = await lifecycleFixture(t, 'schema')
  const { manager, admin } = world
  const owner = rolesOf(databaseOf(world.superUrl)).owner
  for (const [n, [name, { make, named, drop }]] of Object.entries(outside).entries()) {
    await t.test(name, async t => {
      const id = idFor(world, `a${n}`)
      const tenant = await manager.create({ id, slug: `acme-${n}` })
      await world.fill(tenant)
      const schema = `"${tenant.placement.schema}"`
      await admin(
        make.replaceAll('OWNER', `"${owner}"`).replaceAll('S.', `${schema}.`).replaceAll(
          'schema S',
          `schema ${schema}`
        )
      )
      const before = (await manager.delete({ id }, { dryRun: true })).dependents
      t.equal(before?.length, 1, String(before))
      t.ok(before?.[0]?.endsWith(named), String(before))
      await manager.delete({ id }, { grace: '0s' })
      await t.rejects(
        manager.purge({ id }),
        conflict(
          new RegExp(
            `objects outside schema '${tenant.placement.schema}' depend on it.*: .*${
              named.replaceAll(/[().]/g, '\\$&')
            }`
          )
        )
      )
      t.match(
        await admin(`select count(*)::int as n from ${schema}.tasks`),
        [{ n: 2 }],
        'no row of the tenant is gone'
      )
      await admin(drop.replaceAll('S.', `${schema}.`))
      t.match(await manager.purge({ id }), { tenant: { status: 'deleted' } })
      t.same(await admin('select from pg_namespace where nspname = $1', [tenant.placement.schema]), [])
    })
  }
})

t.test("DAT-01 what the tenant's role owns or may use elsewhere is named and stays", async t => {
  const world = await lifecycleFixture(t, 'schema')
  const { manager, admin } = world
  const id = idFor(world, 'a')
  await manager.create({ id, slug: 'acme' })
  const role = `"${tenantRole(id, databaseOf(world.superUrl))}"`
  await admin(
    `create table notes (n int); insert into notes values (1); alter table notes owner to ${role}; ` +
      `create view report as select 1; grant select on report to ${role}`
  )
  const { dependents, grants, grantsElsewhere } = await manager.delete({ id }, { dryRun: true })
  t.same({ dependents, grants, grantsElsewhere }, {
    dependents: [`table public.notes of role ${JSON.parse(role)}`],
    grants: ['view public.report'],
    grantsElsewhere: []
  })
  await manager.delete({ id }, { grace: '0s' })
  await t.rejects(manager.purge({ id }), conflict(/table public\.notes of role tenant_/))
  await admin('alter table notes owner to current_user')
  await t.rejects(
    manager.purge({ id }),
    conflict(/cannot be dropped, because it has privileges on view public\.report:/),
    "granted by a superuser: the owner's login cannot take it back"
  )
  t.match(
    await admin(`select count(*)::int as n from "tenant_${id}".tasks`),
    [{ n: 0 }],
    'nothing was dropped'
  )
  await admin(`revoke select on report from ${role}`)
  t.match(await manager.purge({ id }), { tenant: { status: 'deleted' } })
  t.match(await admin('select n from notes'), [{ n: 1 }])
})

for (const strategy of ['schema', 'role'] as const) {
  t.test(`DAT-01 ${strategy}: a role's privileges in another database refuse the purge`, async t => {
    const world = await lifecycleFixture(t, strategy)
    const { manager, admin } = world
    const id = idFor(world, 'a')
    const tenant = await manager.create({ id, slug: 'acme' })
    await world.fill(tenant)
    const role = `"${tenantRole(id, databaseOf(world.superUrl))}"`
    const otherUrl = await freshDatabase(t)
    const other = await connect(t, otherUrl)
    await other.query(`create table report (n int); grant select on report to ${role}`)
    const told = `table public.report in database ${databaseOf(otherUrl)}`
    t.same((await manager.delete({ id }, { dryRun: true })).grantsElsewhere, [told])
    await manager.delete({ id }, { grace: '0s' })
    await t.rejects(
      manager.purge({ id }),
      conflict(
        new RegExp(
          `the role of the tenant cannot be dropped, because it has privileges on ${
            told.replaceAll('.', '\\.')
          }`
        )
      )
    )
    t.match(
      await admin(
        `select count(*)::int as n from ${strategy === 'schema' ? `"${tenant.placement.schema}".` : ''}tasks`
      ),
      [{ n: 2 }]
    )
    await other.query(`drop owned by ${role}`)
    t.match(await manager.purge({ id }), { tenant: { status: 'deleted' } })
  })
}

t.test("DAT-01 a moved tenant's old schema stays while an outside object depends on it", async t => {
  const world = await lifecycleFixture(t, 'schema')
  const { manager, admin } = world
  const id = idFor(world, 'a')
  await manager.create({ id, slug: 'acme' })
  await admin(`create view report as select count(*) from "tenant_${id}".projects`)
  await manager.move({ id }, { isolation: 'database' })
  await t.rejects(manager.confirmMove({ id }), conflict(/depend on it.*view public\.report/))
  t.match(await admin('select * from report'), [{ count: '0' }])
  await manager.delete({ id }, { grace: '0s' })
  t.match((await manager.delete({ id }, { dryRun: true })).dependents, ['view public.report'])
  await t.rejects(manager.purge({ id }), conflict(/view public\.report/))
  await admin('drop view report')
  t.match(await manager.purge({ id }), { tenant: { status: 'deleted' } })
})

t.test('DAT-08 a schema is dropped in chunks whose locks fit one transaction', async t => {
  const world = await lifecycleFixture(t, 'schema')
  const { admin } = world
  const id = idFor(world, 'a')
  const { placement: { schema } } = await world.manager.create({ id, slug: 'acme' })
  const owner = rolesOf(databaseOf(world.superUrl)).owner
  const count = isLong ? 2_500 : 60
  for (let from = 0; from < count; from += 100) {
    await admin(
      `do $$ begin execute 'set local role "${owner}"'; for n in ${from}..${
        Math.min(from + 99, count - 1)
      } loop
      execute format('create table "${schema}".t%s (id int primary key%s, body text unique)', n, case
        when n % 10 > 0 then ' references "${schema}".t' || n - 1 end); end loop; end $$`
    )
  }
  const portions: number[] = []
  const manager = world.another({
    progress ({ step, done = 0 }) {
      if (step !== `schema ${schema}`) return
      portions.push(done)
      if (portions.length === 2) throw new Error('cut short')
    }
  })
  await manager.delete({ id }, { grace: '0s' })
  await t.rejects(manager.purge({ id }), { message: 'cut short' })
  t.match(await manager.purge({ id }), { tenant: { status: 'deleted' } })
  const [{ room } = { room: 0 }] = await admin<{ room: number }>(
    "select current_setting('max_locks_per_transaction')::int as room"
  )
  const sizes = portions.map((done, index) =>
    done - (index === 0 || index === 2 ? 0 : portions[index - 1] ?? 0)
  )
  t.equal(sizes.reduce((sum, size) => sum + size, 0), count + 2, 'each table once')
  t.ok(Math.max(...sizes) < room / 6, `${sizes.length} portions, none with more locks than a transaction has`)
  t.same(await admin('select from pg_namespace where nspname = $1', [schema]), [])
})
