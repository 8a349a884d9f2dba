// Where init could make its event trigger, a process hears of a change of the catalog with its next
// statement.
import type { Kysely } from 'kysely'
import t, { type Test } from 'tap'

import { init } from '../../packages/postgres/src/install/init.ts'
import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'
import { handle, open, provision, type Provisioned, type Rows } from '../support/tenants.ts'

interface TwoTenants {
  readonly on: Provisioned
  readonly acme: Kysely<Rows>
  readonly globex: Kysely<Rows>
}

async function twoTenants (t: Test, prepare = ''): Promise<TwoTenants> {
  const on = await provision(t)
  if (prepare !== '') await on.admin(prepare)
  const database = await open(t, on, { pool: { max: 1 } })
  return { on, acme: handle(t, database, 'acme').db, globex: handle(t, database, 'globex').db }
}

const act = (returns: string, value: string): string => `
  create function act () returns ${returns} language plpgsql as $$ begin
    perform set_config('some.thing', 'left', false); return ${value}; end $$;`

const changes: Readonly<Record<string, string>> = {
  'a default': "alter table notes alter n set default length(set_config('some.thing', 'left', false))",
  'a check': "alter table notes add check (set_config('some.thing', 'left', false) = 'left')",
  'a trigger': `${
    act('trigger', 'new')
  } create trigger act before insert on notes for each row execute function act()`,
  'a policy': `${act('bool', 'true')} create policy act on notes using (act()) with check (act())`,
  'a generated column': `create function act (int) returns int language plpgsql immutable as $$ begin
      perform set_config('some.thing', 'left', false); return 1; end $$;
    alter table notes add act int generated always as (act(n)) stored`,
  'an operator': `create function act (text, varchar) returns bool language plpgsql as $$ begin
      perform set_config('some.thing', 'left', false); return true; end $$;
    create operator = (leftarg = text, rightarg = varchar, function = act)`
}

// A harmless statement of the query builder, which costs no reset and shows what the setting holds.
const prepare = "alter table notes add seen text default current_setting('some.thing', true), add v varchar"

async function add (db: Kysely<Rows>, more: object = {}): Promise<unknown> {
  return db.insertInto('notes').values({ body: 'x', ...more }).returning('seen' as 'body').executeTakeFirst()
}

async function seenAfter (t: Test, change: string, isHeard: boolean): Promise<unknown> {
  const { on, acme, globex } = await twoTenants(t, prepare)
  // More than the five executions after which PostgreSQL keeps a plan.
  for (let round = 0; round < 8; round++) for (const db of [acme, globex]) await add(db)
  if (!isHeard) await on.admin('alter event trigger tenancy_catalog disable')
  await on.admin(change)
  await add(acme)
  await acme.selectFrom('notes').select('id').where('body', '=', eb => eb.ref('v' as 'body')).execute()
  // Its own default must not be what it sees.
  return Object.values(await add(globex, { n: 1 }) as object)[0]
}

for (const [name, change] of Object.entries(changes)) {
  t.test(`CON-26: ${name} that is made by hand while processes run is heard of at once`, async t => {
    t.not(await seenAfter(t, change, true) || null, 'left')
  })
}

t.test('CON-26, control: without the event trigger the next tenant meets a trace', async t => {
  t.equal(await seenAfter(t, changes['a default'] ?? '', false), 'left')
})

const types: readonly (readonly [from: string, to: string, value: unknown, shown: string])[] = [
  ['int', 'bigint', '3000000000', '3000000000'],
  ['real', 'double precision', 0.1, '0.1'],
  ['date', 'timestamp', '2020-01-01 10:00', '2020-01-01T10:00:00'],
  ['text', 'jsonb', '{"a":1}', '{"a": 1}'],
  ['varchar(3)', 'text', 'longer', 'longer'],
  ['timestamp', 'timestamptz', '2020-06-01 10:00+05', '2020-06-01T05:00:00+00:00']
]

t.test('CON-06: a column that changes its type by hand takes the right value at once', async t => {
  const { on, acme } = await twoTenants(
    t,
    `alter table notes ${types.map(([from], index) => `add c${index} ${from}`).join(', ')}`
  )
  await on.admin('set timezone = utc')
  const insert = (column: string, value: unknown): Promise<unknown> =>
    acme.insertInto('notes').values({ body: 'x', [column]: value } as never).execute()
  for (const [index, [, , value]] of types.entries()) await insert(`c${index}`, value).catch(() => {})
  for (const [index, [, to]] of types.entries())
    await on.admin(`alter table notes alter c${index} type ${to} using null`)
  for (const [index, [, , value, shown]] of types.entries()) {
    await insert(`c${index}`, value)
    t.same(
      await on.admin(`select (to_jsonb(c${index}) #>> '{}') as shown from notes where c${index} is not null`),
      [{ shown }],
      `${types[index]?.[0]} to ${types[index]?.[1]}`
    )
  }
})

async function epochs (t: Test): Promise<{ url: string; change(...texts: string[]): Promise<boolean> }> {
  const url = await freshDatabase(t)
  const client = await connect(t, url)
  await init(client)
  await client.query(
    'create table notes (id int primary key, body text); ' +
      "create function f () returns int language sql as 'select 1'"
  )
  const read = async (): Promise<unknown> =>
    (await client.query('select tenancy.current_catalog_epoch() as epoch')).rows[0]
  return {
    url,
    async change (...texts) {
      const before = JSON.stringify(await read())
      for (const text of texts) await client.query(text)
      return JSON.stringify(await read()) !== before
    }
  }
}

t.test('the epoch changes with what a statement could run, and with nothing else', async t => {
  const { change } = await epochs(t)
  t.ok(await change('alter table notes add n int'), 'a column')
  t.ok(await change('create index concurrently on notes (body)'), 'an index that is made concurrently')
  t.ok(await change("create or replace function f () returns int language sql as 'select 2'"), 'a function')
  t.ok(await change('create policy p on notes using (true)'), 'a policy')
  t.ok(
    await change('begin; savepoint a; alter table notes add m int; release a; commit'),
    'behind a savepoint'
  )
  t.ok(
    await change(
      'begin; set constraints all immediate; alter table notes add o int; alter table notes add p int; commit'
    ),
    'where constraints are immediate'
  )
  t.ok(
    await change('begin isolation level serializable; select 1; alter table notes add q int; commit'),
    'in a serializable transaction'
  )
  t.ok(
    await change(
      'begin; create schema kept; create table kept.t (id int references notes on delete cascade); commit'
    ),
    'a new schema whose foreign key reaches a table that was there'
  )
  t.ok(await change('create table kept.u (id int)'), 'a schema of an earlier transaction')
  t.notOk(await change('begin; alter table notes add r int; rollback'), 'rolled back')
  t.notOk(
    await change(
      'begin; create schema own; create table own.t (id int primary key); ' +
        'create index on own.t (id); create trigger f before insert on own.t execute function ' +
        'suppress_redundant_updates_trigger(); commit'
    ).catch(() => false),
    'a schema that is made with its tables'
  )
  t.notOk(
    await change(
      'begin; create schema made; create table made.t (id int primary key); ' +
        'create table made.u (id int references made.t on delete cascade); ' +
        'create policy p on made.t using (true); commit'
    ),
    'a schema with keys of its own'
  )
  t.notOk(
    await change(
      'create temp table t (id int primary key)',
      'create index on t (id)',
      'alter table t add n int',
      'drop table t'
    ),
    'temporary tables'
  )
  t.notOk(
    await change('grant select on notes to public', "comment on table notes is 'x'", 'analyze notes'),
    'grants and comments'
  )
  t.notOk(
    await change('delete from tenancy.lockouts', "update tenancy.lockout_version set version = 'x'"),
    'fences'
  )
})

t.test('changes of the catalog at the same time neither fail nor wait for each other', async t => {
  const { url, change } = await epochs(t)
  const clients = await Promise.all(Array.from({ length: 6 }, () => connect(t, url)))
  for (const [index, client] of clients.entries()) await client.query(`create table t${index} (id int)`)
  // All have changed something before the first commits.
  await Promise.all(clients.map((client, index) => client.query(`begin; alter table t${index} add a int`)))
  t.ok(await change('alter table notes add z int'), 'while others are under way')
  await Promise.all(clients.map(client => client.query('commit')))
  await Promise.all(clients.map(async (client, index) => {
    for (let round = 0; round < 10; round++) {
      await client.query(
        `begin isolation level ${
          round % 2 === 0 ? 'read committed' : 'serializable'
        }; alter table t${index} add b${round} int; create index on t${index} (b${round}); commit`
      )
    }
  }))
  const warned: unknown[] = []
  clients[0]?.on('notice', notice => warned.push(notice))
  await clients[0]?.query('alter table t0 add last int')
  t.same(warned, [])
})

t.test('a change of the catalog does not fail where its epoch cannot be published', async t => {
  const { url, change } = await epochs(t)
  const client = await connect(t, url)
  const warned: string[] = []
  client.on('notice', ({ message }) => warned.push(message ?? ''))
  const other = await connect(t, url)
  await other.query('begin; lock table tenancy_ddl.turn in exclusive mode')
  await client.query('alter table notes add n int')
  t.match(warned, [/notice this change of the catalog within a minute/])
  await other.query('rollback')
  t.ok(await change('alter table notes add m int'), 'the next one is published')
})

t.test('init again, and after the trigger was disabled, leaves it enabled', async t => {
  const { url, change } = await epochs(t)
  const client = await connect(t, url)
  await init(client)
  t.ok(await change('alter table notes add n int'))
  await client.query('alter event trigger tenancy_catalog disable')
  t.notOk(await change('alter table notes add m int'), 'control')
  await init(client)
  t.ok(await change('alter table notes add o int'))
})

t.test('the context compares both epochs as one constant', async t => {
  const { url } = await epochs(t)
  const client = await connect(t, url)
  const { rows } = await client.query<{ 'QUERY PLAN': string }>(
    'explain (verbose) select tenancy.current_versions()'
  )
  t.match(rows.map(row => row['QUERY PLAN']).join('\n'), /Output: '[0-9a-f-]{72}'::text/)
})
