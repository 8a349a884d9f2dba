// Plain SQL through a tenant's pool of pg: the rows of two tenants, transactions, and what a client
// is refused.
import pg from 'pg'
import t from 'tap'

import { plainDatabase, poolOf, world } from './world.ts'

t.test('PG-01 two tenants see only their own rows in all kinds of statements', async t => {
  const w = await world(t)
  const { pool: acme } = poolOf(t, w, 'acme')
  const { pool: globex } = poolOf(t, w, 'globex')
  for (const [name, pool] of [['acme', acme], ['globex', globex]] as const) {
    await pool.query('insert into projects (id, name) values ($1, $2), ($3, $4)', [1, `${name} one`, 2,
      `${name} two`])
    await pool.query('insert into tasks (id, project_id, title) values (1, 1, $1)', [`${name} task`])
  }
  for (const [name, pool] of [['acme', acme], ['globex', globex]] as const) {
    const { rows } = await pool.query('select name from projects order by id')
    t.same(rows, [{ name: `${name} one` }, { name: `${name} two` }], 'read')
    const joined = await pool.query({
      text: 'select p.name, t.title from projects p left join tasks t on t.project_id = p.id order by p.id',
      rowMode: 'array'
    })
    t.same(joined.rows, [[`${name} one`, `${name} task`], [`${name} two`, null]], 'join')
  }
  t.equal((await acme.query("update projects set name = 'mine' where name like '%one'")).rowCount, 1)
  t.equal((await acme.query('delete from projects where id = 2')).rowCount, 1)
  t.equal((await globex.query('select from projects')).rowCount, 2)

  const [a, g] = [await acme.connect(), await globex.connect()]
  await a.query('BEGIN')
  await g.query('START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;')
  await a.query("insert into projects (id, name) values (3, 'kept')")
  await a.query('SAVEPOINT "a b"')
  await a.query("insert into projects (id, name) values (4, 'undone')")
  await a.query('ROLLBACK TO SAVEPOINT "a b"')
  await a.query('RELEASE "a b"')
  t.same((await g.query('select id from projects order by id')).rows, [{ id: 1 }, { id: 2 }])
  await t.rejects(g.query("insert into projects (id, name) values (9, 'x')"), { code: '25006' })
  t.equal((await g.query('END')).command, 'ROLLBACK')
  t.equal((await a.query('COMMIT')).command, 'COMMIT')
  a.release()
  g.release()
  t.same((await acme.query('select id from projects order by id')).rows, [{ id: 1 }, { id: 3 }])
  t.same((await globex.query('select id from projects order by id')).rows, [{ id: 1 }, { id: 2 }])
})

t.test('PG-02 control: a pg.Pool of the same login without the suite returns no rows', async t => {
  const w = await world(t)
  await poolOf(t, w, 'acme').pool.query("insert into projects (id, name) values (1, 'acme')")
  const pool = new pg.Pool({ connectionString: w.on.url, max: 1 })
  t.teardown(() => pool.end())
  await t.rejects(pool.query('select from projects'), { code: '42501' })
  t.equal((await w.on.admin('select from projects')).length, 1)
})

const refused = ['set search_path to public', 'set role none', "set transaction snapshot '1'", 'reset all',
  'prepare x as select 1', 'deallocate all', 'discard all', 'listen x', 'copy projects to stdout',
  'create table x (id int)', 'do $$ begin end $$', 'lock table projects', 'commit and chain',
  'rollback and chain', "prepare transaction 'x'", "commit prepared 'x'", 'begin; select 1', 'commit; begin',
  'savepoint a; select 1', 'truncate projects', 'vacuum',
  'set session characteristics as transaction read only',
  'begin transaction isolation level serializable; set role none', 'start', '',
  'declare c cursor for select 1']

t.test('PG-03 only row statements and transaction control are sent, others refused', async t => {
  const w = await world(t, { pool: { max: 2 } })
  const { pool } = poolOf(t, w, 'acme')
  const client = await pool.connect()
  for (const isBegun of [false, true]) {
    for (const text of refused) {
      if (isBegun) await client.query('begin')
      await t.rejects(client.query(text), { code: 'FST_TENANCY_QUERY_REFUSED' }, text)
      if (isBegun) await client.query('rollback')
    }
  }
  client.release()
  await t.rejects(pool.query('select 1; select 2'), { code: '42601' }, 'the server refuses two in one text')
  for (
    const query of [{ text: 'select 1', binary: true }, {
      text: 'select 1',
      rows: 5
    }]
  )
    await t.rejects(pool.query(query as never), { code: 'FST_TENANCY_QUERY_REFUSED' })
  await t.rejects(pool.query({ values: [] } as never), { code: 'FST_TENANCY_QUERY_REFUSED' })
  await t.rejects(pool.end(), /belongs to its request/)
  t.same((await pool.query('select 1 as one')).rows, [{ one: 1 }], 'and serves on')
})

const pid = async (pool: pg.Pool): Promise<number> =>
  (await pool.query('select pg_backend_pid() as pid')).rows[0].pid

t.test('PG-04 a text changes no session, so the next tenant finds the defaults', async t => {
  const w = await world(t, { pool: { max: 1 } })
  const { pool: acme } = poolOf(t, w, 'acme')
  const { pool: globex } = poolOf(t, w, 'globex')
  const first = await pid(acme)
  await acme.query("select set_config('app.mark', 'acme', false), set_config('role', 'none', false)")
  await t.rejects(acme.query('select pg_advisory_lock(7)'), { code: 'FST_TENANCY_QUERY_REFUSED' })
  t.same((await globex.query("select nullif(current_setting('app.mark', true), '') as mark")).rows, [{
    mark: null
  }])
  t.equal(await pid(globex), first, 'control: it is the same backend')
})

t.test('PG-05 a client is returned when its scope ends, and its transaction rolled back', async t => {
  const w = await world(t, { pool: { max: 2 } })
  for (let n = 0; n < 6; n++) {
    const { scope, pool } = poolOf(t, w, 'acme')
    const client = await pool.connect()
    if (n % 2 === 0) {
      await client.query('begin')
      await client.query("insert into projects (id, name) values (1, 'open')")
    }
    scope.end()
    await t.rejects(client.query('select 1'), { code: 'FST_TENANCY_SCOPE_CLOSED' })
    await t.rejects(pool.query('select 1'), { code: 'FST_TENANCY_SCOPE_CLOSED' })
    await t.rejects(pool.connect(), { code: 'FST_TENANCY_SCOPE_CLOSED' })
  }
  const { pool } = poolOf(t, w, 'acme')
  t.same((await pool.query('select from projects')).rowCount, 0)
  const client = await pool.connect()
  client.release()
  t.throws(() => client.release(), /already been released/)
  await t.rejects(client.query('select 1'), /released/)
})

t.test('PG-06 strategy row refuses text, which cannot be proved; rls.filter too', async t => {
  const w = await world(t)
  const { pool } = poolOf(t, w, 'acme', 'row')
  await t.rejects(pool.query('select * from projects where tenant_id = $1', ['acme']), {
    code: 'FST_TENANCY_QUERY_REFUSED'
  })
  const client = await pool.connect()
  await client.query('begin')
  await t.rejects(client.query('select 1'), { code: 'FST_TENANCY_QUERY_REFUSED' })
  await client.query('rollback')
  client.release()
})

t.test('PG-07 the tripwire stops a row of another tenant here, too', async t => {
  const w = await world(t)
  await poolOf(t, w, 'globex').pool.query("insert into projects (id, name) values (1, 'globex')")
  await w.on.admin('create policy hole on projects for select using (true)')
  const { pool } = poolOf(t, w, 'acme')
  for (const rowMode of ['array', undefined] as const)
    await t.rejects(pool.query({ text: 'select tenant_id, name from projects', rowMode } as never), {
      code: 'FST_TENANCY_ISOLATION_BREACH'
    })
})

t.test('PG-08 callbacks, queued queries, named queries and type parsers work as pg does', async t => {
  const w = await world(t)
  const plain = await plainDatabase(t)
  const { pool } = poolOf(t, w, 'acme')
  const parsers = { getTypeParser: () => (text: string) => `<${text}>` }
  for (const each of [plain, pool]) {
    t.same(
      await new Promise(resolve => each.query('select $1::int as n', [3], (_, { rows }) => resolve(rows))),
      [{ n: 3 }]
    )
    t.match(await new Promise(resolve => each.query('select nothing', error => resolve(error))), {
      code: '42703'
    })
    t.same((await each.query({ text: 'select 1 as n, null as x', types: parsers as never })).rows, [{
      n: '<1>',
      x: null
    }])
    await new Promise<void>((resolve, reject) => {
      each.connect((error, client, done) => {
        if (error !== undefined || client === undefined) return reject(error)
        client.query({ name: 'one', text: 'select 1 as n' }, () => done())
        resolve()
      })
    })
    const client = await each.connect()
    client.setTypeParser(23, text => `int ${text}`)
    t.same((await client.query('select 5 as n')).rows, [{ n: 'int 5' }])
    client.release(true)
    t.same((await each.query('select 5 as n')).rows, [{ n: 5 }], 'of that client alone')
    const named = await each.connect()
    const all = await Promise.all([named.query({ name: 'a', text: 'select $1::int as n', values: [1] }),
      named.query({ name: 'a', values: [2] } as never), named.query('begin'), named.query('savepoint x'),
      named.query('rollback'), named.query('rollback')])
    t.same(all.map(({ command }) => command), ['SELECT', 'SELECT', 'BEGIN', 'SAVEPOINT', 'ROLLBACK',
      'ROLLBACK'])
    await t.rejects(named.query({ name: 'a', text: 'select 2' }), /must be unique/)
    await t.rejects(named.query('savepoint x'), { code: '25P01' })
    named.release()
  }
})
