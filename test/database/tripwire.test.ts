import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { sql } from 'kysely'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import t, { type Test } from 'tap'

import { Tripwire } from '../../packages/database/src/connection/tripwire.ts'
import { handle, open, provision, type Provisioned } from '../support/tenants.ts'
import { until } from '../support/until.ts'

/** Ways in which everything above the tripwire may be gone. */
const holes: Readonly<Record<string, (on: Provisioned) => Promise<unknown>>> = {
  'row-level security switched off': on => on.admin('alter table notes disable row level security'),
  'a policy that lets everything through': on => on.admin('create policy hole on notes using (true)'),
  'a role that policies do not bind': on =>
    on.admin(
      "do $$ begin execute format('alter role %I bypassrls', 'tenancy_app_' || " +
        'substr(md5(current_database()), 1, 8)); end $$'
    )
}

async function breached (
  t: Test,
  hole: (on: Provisioned) => Promise<unknown>,
  options = {}
): Promise<{ a: ReturnType<typeof handle>; on: Provisioned }> {
  const on = await provision(t)
  const database = await open(t, on, { pool: { max: 1 }, ...options })
  const a = handle(t, database, 'acme')
  await a.db.insertInto('notes').values({ body: 'acme:1' }).execute()
  await handle(t, database, 'globex').db.insertInto('notes').values({ body: 'globex:1' }).execute()
  await hole(on)
  return { a, on }
}

for (const [name, hole] of Object.entries(holes)) {
  t.test(`TRP-01 with ${name}, no row of another tenant passes whose tenant column is selected`, async t => {
    const events: unknown[] = []
    const listen = (message: unknown): void => {
      events.push(message)
    }
    subscribe('fastify-tenancy:isolation-breach', listen)
    t.teardown(() => unsubscribe('fastify-tenancy:isolation-breach', listen))
    const { a, on } = await breached(t, hole)
    const isBreach = { code: 'FST_TENANCY_ISOLATION_BREACH', statusCode: 500 }
    const { rows: [served] } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(a.db)

    await t.rejects(a.db.selectFrom('notes').selectAll().execute(), isBreach)
    await until(async () =>
      (await on.admin('select from pg_stat_activity where pid = $1', [served?.pid])).length === 0
    )
    t.equal(events.length, 1, 'an event is raised')
    t.same(events[0], { tenant: 'acme' }, 'which names nobody but the tenant whose request it was')

    await t.rejects(
      a.db.selectFrom('notes as n').select(['n.tenant_id as whose', 'body']).where('n', '=', 0).execute(),
      isBreach,
      'under another name'
    )
    await t.rejects(
      a.db.selectFrom('notes').innerJoin('notes as other', 'other.n', 'notes.n').select('other.tenant_id')
        .execute(),
      isBreach,
      'through a join'
    )
    await t.rejects(
      sql`with x as (select * from notes) select * from x`.execute(a.db),
      isBreach,
      'through a CTE'
    )
    await t.rejects(
      a.db.updateTable('notes').set({ n: 0 }).returning('tenant_id').execute(),
      isBreach,
      'through RETURNING'
    )
    await t.rejects(
      async () => {
        for await (const row of a.db.selectFrom('notes').selectAll().orderBy('tenant_id').stream(1))
          t.equal(row.tenant_id, 'acme')
      },
      isBreach,
      'in portions'
    )
    await t.rejects(
      a.db.transaction().execute(async trx => {
        await trx.insertInto('notes').values({ body: 'acme:in' }).execute()
        await trx.selectFrom('notes').selectAll().execute()
      }),
      isBreach,
      'in a transaction'
    )

    t.same(
      await a.db.selectFrom('notes').selectAll().where('tenant_id', '=', 'acme').where('body', '=', 'acme:1')
        .execute().then(rows => rows.map(({ body }) => body)),
      ['acme:1'],
      'its own rows pass'
    )
    t.same(
      await sql`select l.tenant_id from (values (1)) one left join notes l on l.body = 'nothing'`.execute(
        a.db
      ).then(({ rows }) => rows),
      [{ tenant_id: null }],
      "the missing side of an outer join is nobody's"
    )
  })
}

t.test("control: without the tripwire the same select shows the other tenant's row", async t => {
  const { a } = await breached(t, holes['row-level security switched off'] ?? (async () => {}), {
    tripwire: false
  })
  t.match(await a.db.selectFrom('notes').selectAll().execute(), [{ body: 'acme:1' }, { body: 'globex:1' }])
})

const remake = 'drop table notes; create table notes (tenant_id text, id int, body text, n int); ' +
  "insert into notes values ('globex', 1, 'globex:1', 0), ('globex', 2, 'globex:2', 0); " +
  'grant select on notes to public'

t.test('TRP-01 a table that was dropped and made again is watched from its first result on', async t => {
  const { a, on } = await breached(t, async () => {})
  await on.admin(remake)
  await t.rejects(a.db.selectFrom('notes').selectAll().execute(), { code: 'FST_TENANCY_ISOLATION_BREACH' })
  await on.admin(remake)
  await t.rejects(a.db.transaction().execute(trx => trx.selectFrom('notes').selectAll().execute()), {
    code: 'FST_TENANCY_ISOLATION_BREACH'
  }, 'in a transaction')
  await on.admin(`${remake}; update notes set tenant_id = 'acme'`)
  t.equal((await a.db.selectFrom('notes').selectAll().execute()).length, 2, 'its own rows pass')
})

t.test('TRP-01 chunks of a recreated table are refused until the table is known', async t => {
  const { a, on } = await breached(t, async () => {})
  const read = async (): Promise<void> => {
    for await (const row of a.db.selectFrom('notes').selectAll().stream(1)) t.equal(row.tenant_id, 'acme')
  }
  await on.admin(`${remake}; update notes set tenant_id = 'acme'`)
  await t.rejects(read(), { code: 'FST_TENANCY_DATABASE_UNAVAILABLE', statusCode: 503 })
  await read()
  await on.admin(remake)
  await t.rejects(read(), { code: 'FST_TENANCY_ISOLATION_BREACH' })
  await t.rejects(
    a.db.transaction().setIsolationLevel('repeatable read').execute(async trx => {
      await sql`select 1`.execute(trx)
      await on.admin(remake)
      await trx.selectFrom('notes').selectAll().execute()
    }),
    { code: 'FST_TENANCY_DATABASE_UNAVAILABLE' }
  )
})

t.test('the catalog is read once for each unknown table, and completely once a minute', async t => {
  const asked: unknown[] = []
  let columns = new Map([[1, [2]], [2, [1]]])
  const nobody = { query: async () => ({ rows: [] }) } as unknown as SqlClient
  const tripwire = new Tripwire(nobody, async (_client, only) => {
    asked.push(only)
    return only === undefined ? columns : new Map(only.map(table => [table, []]))
  })
  const fields = [[0, 0], [1, 2], [7, 1], [8, 1]].map(([tableID = 0, columnID = 0]) => ({
    name: 'x',
    tableID,
    columnID,
    dataTypeID: 25
  }))
  const guard = tripwire.guard('acme')
  await tripwire.refresh()
  t.same(guard.tenantColumns(fields.slice(0, 2)), [1])
  t.equal(guard.tenantColumns(fields), undefined)
  await guard.loadColumns(fields, nobody)
  t.same(guard.tenantColumns(fields), [1])
  t.same(asked.splice(0), [undefined, [7, 8]])

  columns = new Map([[1, [3]]])
  t.same(guard.tenantColumns(fields.slice(0, 2)), [1])
  t.same(asked, [], 'not within the minute')
  const { now } = Date
  t.teardown(() => {
    Date.now = now
  })
  Date.now = () => now() + 60_001
  guard.tenantColumns(fields)
  await until(() => guard.tenantColumns(fields)?.length === 0)
  t.same(asked, [undefined, [2, 7, 8]], 'once, and those that it had learned are not unlearned')
})

t.test("TRP-01 type parsers of the pool's do not blind it", async t => {
  const { a } = await breached(t, holes['row-level security switched off'] ?? (async () => {}), {
    types: { getTypeParser: () => String }
  })
  await t.rejects(a.db.selectFrom('notes').selectAll().execute(), { code: 'FST_TENANCY_ISOLATION_BREACH' })
})
