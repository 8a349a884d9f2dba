// The same calls on a tenant's pool of pg, among another tenant's rows, and on plain pg with that
// tenant's rows alone.
import type pg from 'pg'
import t, { type Test } from 'tap'

import { plainDatabase, poolOf, world } from './world.ts'

const columns = 'id, name, tags, facts, price, big, made, day, raw, done, ratio'
const values = [1, "o'clock", ['a', 'b,"c'], { deep: [1, null, 'x'] }, '12.50', '9007199254740993',
  new Date('2026-02-03T04:05:06.789Z'), '2026-02-03', Buffer.from([0, 1, 255]), true, 0.1]
const placeholders = values.map((_, index) => `$${index + 1}`).join(', ')

type Call = string | pg.QueryConfig | pg.QueryArrayConfig

/** Reads, writes and types, each on a connection of its own. */
const alone: readonly Call[] = [
  { text: `insert into projects (${columns}) values (${placeholders}) returning ${columns}`, values },
  { text: 'insert into projects (id, name) select n, $1 || n from generate_series(2, 40) n', values: ['p'] },
  "insert into tasks (id, project_id, title) select n, 1 + n % 7, 't' || n from generate_series(1, 60) n",
  `select ${columns} from projects order by id`,
  { text: `select ${columns} from projects where id = $1`, values: [1], rowMode: 'array' },
  { text: 'select id as a, name as a from projects where id < 4 order by id', rowMode: 'array' },
  'select id as a, name as a from projects where id < 4 order by id',
  'select p.id, p.name, t.title from projects p left join tasks t on t.project_id = p.id order by p.id, t.id',
  'select p.id, count(t.id) as n, max(t.title) from projects p join tasks t on t.project_id = p.id ' +
  'group by p.id order by 1',
  'select p.id from projects p full join tasks t on t.project_id = p.id and t.id < 0 order by 1 nulls last',
  'select id from projects p where exists (select from tasks t where t.project_id = p.id) order by id',
  'with recursive c(n) as (values (1) union all select n + 1 from c where n < 5) select n, name ' +
  'from c join projects on id = n',
  'select rank() over (order by name desc), id from projects order by 1, 2 limit 5 offset 2',
  'select from projects',
  'select 1 where false',
  'select code from countries order by code',
  'values (1, $$a;b$$), (2, null)',
  'table tasks order by id limit 3',
  {
    text: 'select $1::int[] as ints, $2::text as nothing, $3::json as doc',
    values: [[1, 2], null, { a: 1 }]
  },
  "select interval '1 day 2 hours' as i, point(1, 2) as p, '{1,2}'::float8[] as f, now() is null as never",
  {
    text: 'update projects set price = price * 2, name = $1 where id <= $2 returning id, name, price',
    values: ['new', 3]
  },
  'update tasks set title = upper(title) from projects p where p.id = project_id and p.id = 2',
  'insert into projects (id, name) values (1, $$again$$) on conflict do nothing',
  'merge into tasks t using projects p on t.project_id = p.id and p.id = 3 when matched then ' +
  "update set title = 'merged'",
  'delete from projects where id = 4 returning *, tableoid is null',
  'select count(*) from tasks',
  // Errors, by code.
  'select nothing',
  'select 1 / (id - id) from projects',
  "insert into projects (id, name) values (1, 'twice')",
  'insert into tasks (id, project_id, title) values (900, 900, $$orphan$$)',
  'insert into projects (id, name) values (901, null)',
  { text: 'select $1::int', values: ['x'] },
  'select from select'
]

/** What one client does one after the other. */
const sessions: readonly (readonly Call[])[] = [
  ['begin', 'delete from tasks', 'select count(*) from tasks', 'rollback', 'select count(*) from tasks'],
  ['BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE;',
    "select current_setting('transaction_isolation'), current_setting('transaction_read_only')",
    "update projects set name = 'x'", 'select 1', 'commit', 'select 1 as after'],
  ['start transaction', 'savepoint a', "update projects set name = 'a' where id = 1", 'savepoint b',
    'delete from projects', 'rollback to b', 'select name from projects where id = 1', 'release savepoint a',
    'end', 'select name from projects where id = 1'],
  ['begin work', 'select nothing', 'savepoint x', 'rollback transaction to savepoint missing', 'commit work',
    'commit', 'rollback'],
  ['begin', 'savepoint s', "insert into projects (id, name) values (1, 'twice')", 'select 1',
    'rollback to savepoint s', "insert into projects (id, name) values (500, 'kept')", 'begin', 'commit',
    'select name from projects where id = 500'],
  ['savepoint outside', 'release outside', 'rollback to outside', 'abort'],
  ['begin', 'set transaction isolation level repeatable read',
    "select current_setting('transaction_isolation')", 'set transaction isolation level serializable',
    'rollback', 'set transaction read only'],
  // A caller that ignores the error of a refused text commits nothing, as after any other error.
  ['begin', "insert into projects (id, name) values (600, 'half')", 'release', 'select 1', 'savepoint x',
    'begin', 'set transaction read only', 'commit', 'select count(*) from projects where id = 600'],
  ['begin', 'savepoint s', 'release', 'select 1', 'rollback to s', 'insert into projects (id, name) ' +
    "values (601, 'kept')", 'end', 'select count(*) from projects where id = 601'],
  ['begin', 'select 1', 'set transaction isolation level serializable', 'select 1', 'commit and no chain',
    'select 1'],
  ['begin', 'release', 'abort', 'begin', 'select 1', 'commit'],
  [{ name: 'by id', text: 'select name from projects where id = $1', values: [500] }, {
    name: 'by id',
    text: 'select name from projects where id = $1',
    values: [2]
  }, { name: 'by id', text: 'select 1' }, '/* a */ begin -- b', 'release', 'rollback']
]

/** What differs on purpose: text that no handle of a tenant runs. */
const isRefusal = (call: Call): boolean => call === 'release'
const refusal = { code: /^(?:FST_TENANCY_QUERY_REFUSED|25P02)$/ }

t.test('PG-12 results equal those of plain pg on a database of that tenant alone', async t => {
  const w = await world(t, { pool: { max: 3 } })
  const plain = await plainDatabase(t)
  const { pool: other } = poolOf(t, w, 'globex')
  await other.query(
    "insert into projects (id, name, price) select n, 'globex', 1 from generate_series(1, 50) n"
  )
  await other.query(
    "insert into tasks (id, project_id, title) select n, n, 'globex' from generate_series(1, 50) n"
  )
  const { pool } = poolOf(t, w, 'acme')
  for (const call of alone) {
    // Every column of a tenant's table and its own: `*` has the tenant column, too.
    const same = typeof call === 'string' && /\*, tableoid|^table/.test(call)
      ? withoutTenant
      : (value: unknown) => value
    t.same(same(await outcome(pool, call)), await outcome(plain, call), label(call))
  }
  for (const session of sessions) {
    const [ours, theirs] = [await pool.connect(), await plain.connect()]
    for (const call of session) {
      const got = await outcome(ours, call)
      const expected = await outcome(theirs, call)
      if (isRefusal(call)) t.match([got, expected], [refusal, { code: /42601|25P02/ }], label(call))
      else t.same(got, expected, label(call))
    }
    ours.release()
    theirs.release()
  }
  t.same((await other.query('select count(*)::int as n, min(name), sum(price) from projects')).rows, [
    { n: 50, min: 'globex', sum: '50.00' }
  ], 'the other tenant is as it was')
  control(
    t,
    await outcome(other, 'select count(*) from tasks'),
    await outcome(plain, 'select count(*) from tasks')
  )
})

interface Outcome {
  readonly code?: string | undefined
  readonly [part: string]: unknown
}

async function outcome (on: pg.Pool | pg.PoolClient, call: Call): Promise<Outcome> {
  try {
    const { rows, fields, command, rowCount, oid } = await on.query(call as pg.QueryConfig)
    return {
      rows,
      command,
      rowCount,
      oid,
      fields: fields.map(({ name, dataTypeID, dataTypeSize, dataTypeModifier, format }) => ({
        name,
        dataTypeID,
        dataTypeSize,
        dataTypeModifier,
        format
      }))
    }
  } catch (error) {
    const { code, message } = error as { code?: string; message: string }
    // Only the names of constraints and tables are in these messages, and those are the same.
    return { code, message: message.replace(/^Prepared statements.*/, 'unique') }
  }
}

function withoutTenant (got: Outcome): Outcome {
  return {
    ...got,
    rows: (got['rows'] as Record<string, unknown>[]).map(row =>
      Object.fromEntries(Object.entries(row).filter(([name]) => name !== 'tenant_id'))
    ),
    fields: (got['fields'] as { name: string }[]).filter(({ name }) => name !== 'tenant_id')
  }
}

function label (call: Call): string {
  return typeof call === 'string' ? call : call.text
}

function control (t: Test, one: Outcome, another: Outcome): void {
  t.notSame(one, another, 'control: other rows are found to differ')
}
