import type { MoveInput } from '@fastify-tenancy/manager'
import { join } from 'node:path'
import t, { type Test } from 'tap'

import { ask, connect } from '../support/sql.ts'
import { contents, ddl, fill, folder, managerFixture, unique,
  type ManagerFixture } from './manager-fixture.ts'

/** All rows of a tenant, wherever they are stored. */
async function exported (t: Test, { manager }: ManagerFixture, id: string): Promise<Record<string, unknown>> {
  const to = join(folder(t), 'export')
  await manager.export({ id }, { to })
  return contents(to)
}

t.jobs = 2

t.test('a tenant moves between all strategies and shards unchanged', {
  buffered: true
}, async t => {
  for (const context of ['setting', 'role'] as const) {
    await t.test(`rls.context ${context}`, async t => {
      const on = await managerFixture(t, { rls: { context }, shards: ['eu'] })
      const id = unique(on, context)
      const { manager } = on
      const eu = on.shardUrls['eu'] ?? ''
      await manager.create({ slug: 'globex', id: 'globex-1' })
      await manager.create({ slug: 'acme', id })
      await fill(on, 'globex-1', 2)
      await fill(on, id, 800)
      await on.admin(
        'insert into labels (tenant_id, word) select $1, repeat(md5(g::text), 5000) ' +
          'from generate_series(1, 3) g',
        [id]
      ) // larger than one read of a socket
      const before = await exported(t, on, id)
      const neighbour = await exported(t, on, 'globex-1')
      const shared = 'select count(*)::int as count from tasks where tenant_id = $1'
      const schemas = "select count(*)::int as count from pg_namespace where nspname = 'tenant_' || $1"
      const way: readonly [MoveInput, () => Promise<Record<string, unknown>[]>][] = [
        [{ isolation: 'schema' }, () => ask(on.superUrl, shared, [id])],
        [{ isolation: 'database' }, () => ask(on.superUrl, schemas, [id])],
        [{ isolation: 'rls', shard: 'eu' }, () =>
          ask(on.superUrl, "select count(*)::int as count from pg_database where datname = 'tenant_' || $1", [
            id
          ])],
        [{ isolation: 'schema' }, () =>
          ask(eu, shared, [id])],
        [{ shard: 'default' }, () =>
          ask(eu, schemas, [id])],
        [{ isolation: 'rls' }, () =>
          ask(on.superUrl, schemas, [id])]
      ]
      // A role per tenant matters only within one shared database.
      for (
        const [input, leftAt] of context === 'setting'
          ? way
          : [way[0], way[5]].filter(step =>
            step !== undefined
          )
      ) {
        const name = `${input.isolation ?? 'the same'} on ${input.shard ?? 'the same'}`
        const moved = await manager.move({ id }, input)
        t.match(moved, {
          id,
          slug: 'acme',
          status: 'active',
          ...(input.isolation && { isolation: input.isolation }),
          ...(input.shard && { placement: { shard: input.shard } })
        }, name)
        t.same(await exported(t, on, id), before, `${name}: the same rows`)
        t.not((await leftAt())[0]?.count, 0, `${name}: the old copy is kept`)
        await t.rejects(manager.move({ id }, { isolation: 'row' }), {
          code: 'FST_TENANCY_TENANT_CONFLICT',
          message: /confirm/
        }, 'a second move waits for that')
        await manager.confirmMove({ id })
        t.equal((await leftAt())[0]?.count, 0, `${name}: confirmed, it is gone`)
        await t.rejects(manager.confirmMove({ id }), { code: 'FST_TENANCY_TENANT_CONFLICT' })
      }
      t.same(await exported(t, on, 'globex-1'), neighbour, 'other tenants are unchanged')
      await t.rejects(manager.move({ id }, { isolation: 'rls' }), {
        code: 'FST_TENANCY_TENANT_CONFLICT',
        message: /already/
      })
      t.same(
        (await ask(on.superUrl, 'select rolname from pg_roles where rolname like $1', [`tenant_${id}%`]))
          .length,
        context === 'role' ? 1 : 0,
        'no role is left that nothing needs'
      )
    })
  }
})

t.test(
  'a move that exceeds its pause is rolled back, and the tenant stays served',
  { buffered: true },
  async t => {
    const on = await managerFixture(t)
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await fill(on, id)
    const before = await exported(t, on, id)
    const isAsItWas = async (): Promise<void> => {
      t.match(await on.manager.get({ id }), { isolation: 'rls', status: 'active' })
      t.same(await on.admin('select from tenancy.lockouts'), [])
      t.same(await on.admin("select from pg_namespace where nspname like 'tenant_%'"), [])
      t.same(
        await on.admin(
          'select from tenancy.operations where finished_at is null union all select from tenancy.moves'
        ),
        []
      )
      t.same(await exported(t, on, id), before)
    }
    const slow = await connect(t, on.superUrl)
    await slow.query('begin; select pg_current_xact_id()')
    await t.rejects(on.manager.move({ id }, { isolation: 'schema', pause: '200ms' }), {
      code: 'FST_TENANCY_TENANT_CONFLICT',
      message: /began before it was locked/
    }, 'another transaction has run since before')
    await slow.query('rollback')
    await isAsItWas()
    // Delays the copy beyond the pause.
    const late = on.another({
      progress: ({ step }) => {
        if (step === 'wait') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200)
      }
    })
    await t.rejects(late.move({ id }, { isolation: 'schema', pause: '100ms' }), {
      code: 'FST_TENANCY_MOVE_FAILED',
      message: /locked out for more than 0.1 s/
    })
    await isAsItWas()
    for (
      const wrong of [{ pause: 'soon' }, { isolation: 'rows' }, { shard: '' }, {
        isolation: 'schema',
        pauses: '1s'
      }]
    ) await t.rejects(on.manager.move({ id }, wrong as never), { code: 'FST_TENANCY_OPTION_INVALID' })
    await t.rejects(on.manager.move({ id }, { shard: 'mars' }), { code: 'FST_TENANCY_OPTION_INVALID' })
    await t.rejects(on.manager.move({ slug: 'nobody' }, { isolation: 'schema' }), {
      code: 'FST_TENANCY_TENANT_UNKNOWN'
    })
  }
)

t.test('values that would change or do not fit are not moved, and nothing is left', {
  buffered: true
}, async t => {
  const on = await managerFixture(t)
  const id = unique(on, 'a')
  await on.manager.create({ slug: 'acme', id })
  await fill(on, id)
  const before = await exported(t, on, id)
  const attempts: readonly [string, string, RegExp][] = [
    ['a trigger that changes rows', 'create function shout () returns trigger language plpgsql as $f$ ' +
      'begin new.title := upper(new.title); return new; end $f$; ' +
      'create trigger shout before insert on tasks for each row execute function shout()',
      /'tasks' differs after the copy/],
    ['a trigger that adds rows',
      'create function more () returns trigger language plpgsql as $f$ begin insert into labels (word) ' +
      'values (new.title); return new; end $f$; create trigger more before insert on tasks for each row ' +
      'execute function more()', /'labels' differs after the copy/],
    ['a column that is not there', 'alter table tasks add column more int',
      /target's table 'tasks' has a column 'more' that the source lacks/],
    ['another type', 'alter table tasks alter column title type varchar(50)',
      /column 'title' of table 'tasks' is character varying\(50\) in the target/],
    ['no such table', 'drop table labels', /no tenant table 'labels'/]
  ]
  for (const [name, sql, message] of attempts) {
    const other = on.another({
      provision: async ({ client }) => {
        await client.query(`${ddl(false)}; ${sql}`)
      }
    })
    await t.rejects(
      other.move({ id }, { isolation: 'schema' }),
      { code: 'FST_TENANCY_MOVE_FAILED', message },
      name
    )
    t.same(
      await on.admin(
        "select from pg_namespace where nspname like 'tenant_%' union all select from tenancy.lockouts " +
          'union all select from tenancy.moves'
      ),
      [],
      name
    )
  }
  await on.admin(`create schema "tenant_${id}"; create table "tenant_${id}".precious (n int)`)
  await t.rejects(
    on.manager.move({ id }, { isolation: 'schema' }),
    { code: 'FST_TENANCY_TENANT_CONFLICT' },
    "a schema of its name that is somebody else's"
  )
  t.same(await on.admin(`select * from "tenant_${id}".precious`), [], 'is left alone')
  await on.admin(`drop schema "tenant_${id}" cascade`)
  t.same(await exported(t, on, id), before)
  t.match(await on.manager.get({ id }), { isolation: 'rls' })
  t.match(
    await on.manager.move({ id }, { isolation: 'schema' }),
    { isolation: 'schema' },
    'control: as it should be, it moves'
  )
})

t.test(
  'suspension and unconfirmed copies survive a move, and new rows get new numbers',
  { buffered: true },
  async t => {
    const on = await managerFixture(t)
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await fill(on, id)
    await on.admin(
      "insert into tasks (tenant_id, project_id, title) select tenant_id, id, 'gone' from projects " +
        'where tenant_id = $1',
      [id]
    )
    await on.admin("delete from tasks where title = 'gone'")
    const [last] = await on.admin<{ id: string }>('select last_value as id from tasks_id_seq')
    await on.manager.suspend({ id })
    t.match(await on.manager.move({ id }, { isolation: 'schema' }), {
      isolation: 'schema',
      status: 'suspended'
    })
    t.same(await on.admin('select placement, reason from tenancy.lockouts order by 1'), [{
      placement: 'schema',
      reason: 'suspended'
    }, { placement: 'shared', reason: 'moved' }])
    t.equal((await on.manager.resume({ id })).status, 'active')
    const [next] = await on.admin<{ id: string }>(
      `insert into "tenant_${id}".tasks (project_id, title) select min(id), 'new' ` +
        `from "tenant_${id}".projects returning id`
    )
    t.ok(
      BigInt(next?.id ?? 0) > BigInt(last?.id ?? 0),
      'a number that was given to a row that is gone is not given again'
    )
    await on.manager.delete({ id }, { grace: '0s' })
    await on.manager.purge({ id })
    t.same(
      await on.admin(
        'select tenant_id from tasks union all select tenant_id from labels union all select nspname ' +
          "from pg_namespace where nspname like 'tenant_%'"
      ),
      []
    )
  }
)
