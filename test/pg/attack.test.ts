// Hostile and careless callers of a tenant's pool of pg: objects that send themselves, clients given
// back in the middle of their work, and texts that hide another statement.
import { setImmediate as turn } from 'node:timers/promises'
import pg from 'pg'
import t from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { poolOf, world } from './world.ts'

// After the carriage return PostgreSQL reads another statement than a reader of lines.
const hidden = ["--\rdo $$ begin\nupdate projects set name = ''; commit; raise 'ran'; end $$",
  '--\rlisten\nupdate', '--\rcopy (\nselect 1) to stdout', '--\rexplain analyze\nselect 1',
  '--\rprepare x as\nselect 1', '/**/--\r/**/create temp table x as\nselect 1', '(--\rcall\nupdate()']

t.test('PG-18 INJ-22 no text hides another statement behind a carriage return', async t => {
  const w = await world(t, { pool: { max: 1 } })
  const { pool } = poolOf(t, w, 'acme')
  const client = await pool.connect()
  for (const text of hidden) {
    await t.rejects(client.query(text), {
      code: 'FST_TENANCY_QUERY_REFUSED',
      message: /got (?!SELECT)[A-Z]+/
    }, text)
  }
  t.equal((await client.query('--\rselect 1')).rowCount, 1, 'control: the line ends there')
  client.release()
})

t.test('PG-19 an object that sends itself is refused at once, with no promise left behind', async t => {
  const w = await world(t, { pool: { max: 1 } })
  const { pool } = poolOf(t, w, 'acme')
  const client = await pool.connect()
  let sent = false
  const stream = { text: 'select 1', submit: () => sent = true, on () {} }
  for (const each of [stream, new pg.Query('select 1')])
    for (const on of [pool, client])
      t.throws(() => void on.query(each as never), { code: 'FST_TENANCY_QUERY_REFUSED' })
  await turn()
  t.notOk(sent)
  client.release()
})

t.test('PG-20 a client that is released in the middle of a begin leaves nothing open', async t => {
  const on = await provision(t)
  const app = await suite(t, on, { database: { pool: { max: 1 } } })
  for (const transaction of [false, true]) {
    await app.tenancy.run({ slug: 'acme' }, async ({ pg, db }) => {
      if (transaction) await pg.query('select 1')
      const client = await pg.connect()
      const begun = client.query('begin')
      await Promise.resolve()
      client.release(true)
      await begun.catch(() => {})
      const next = await pg.connect()
      await next.query('begin')
      await next.query("insert into notes (body) values ('kept')")
      await next.query('commit')
      next.release()
      await dbOf({ db }).selectFrom('notes').selectAll().execute()
    }, { transaction })
  }
  t.equal((await on.admin('select from notes')).length, 2)
})

t.test('PG-21 END-04 a rollback to a savepoint loses no write of another handle in silence', async t => {
  const on = await provision(t)
  const app = await suite(t, on, { database: { pool: { max: 2 } } })
  const work = (before: boolean, after: boolean, name: string): Promise<unknown> =>
    app.tenancy.run({ slug: 'acme' }, async ({ pg, db }) => {
      const write = async (): Promise<unknown> =>
        dbOf({ db }).insertInto('notes').values({ body: name }).execute()
      const client = await pg.connect()
      await client.query('begin')
      if (before) await write()
      await client.query('savepoint s')
      if (after) await write()
      await client.query('rollback to s')
      await client.query('commit')
      client.release()
      return 'done'
    }, { transaction: true })
  for (const before of [false, true])
    await t.rejects(work(before, true, 'lost'), { code: 'FST_TENANCY_QUERY_REFUSED' })
  t.equal(await work(true, false, 'kept'), 'done', 'a write before the savepoint stays')
  t.same(await on.admin('select body from notes'), [{ body: 'kept' }])
})

t.test('PG-22 END-04 savepoints of one name hide one another as in PostgreSQL', async t => {
  const on = await provision(t)
  const app = await suite(t, on, { database: { pool: { max: 2 } } })
  const bodies = async (): Promise<unknown[]> =>
    (await on.admin<{ body: string }>('select body from notes order by id')).map(({ body }) => body)
  const work = (...steps: readonly string[]): Promise<unknown> =>
    app.tenancy.run({ slug: 'acme' }, async ({ pg, db }) => {
      const client = await pg.connect()
      await client.query('begin')
      for (const step of steps) {
        const [, body] = /^write (\w+)$/.exec(step) ?? []
        if (body === undefined) await client.query(step)
        else await dbOf({ db }).insertInto('notes').values({ body }).execute()
      }
      await client.query('commit')
      client.release()
      return 'done'
    }, { transaction: true })
  t.equal(
    await work('savepoint s', 'release s', 'write kept', 'savepoint s', 'rollback to s'),
    'done',
    'a released savepoint does not count'
  )
  t.equal(
    await work('savepoint s', 'write also', 'savepoint s', 'rollback to s'),
    'done',
    'the newest counts'
  )
  t.same(await bodies(), ['kept', 'also'])
  for (
    const steps of [
      ['savepoint s', 'write x', 'savepoint s', 'release s', 'rollback to s'],
      ['savepoint a', 'savepoint b', 'write x', 'rollback to a'],
      ['savepoint a', 'write x', 'savepoint b', 'rollback to b', 'rollback to a'],
      ['savepoint a', 'savepoint b', 'rollback to a', 'write x', 'rollback to a']
    ]
  ) await t.rejects(work(...steps), { code: 'FST_TENANCY_QUERY_REFUSED' }, steps.join('; '))
  t.same(await bodies(), ['kept', 'also'], 'nothing of a refused transaction')
})

t.test("PG-23 a savepoint with the name of a unit's own is refused, so a rollback undoes all", async t => {
  const on = await provision(t)
  const app = await suite(t, on)
  await app.tenancy.run({ slug: 'acme' }, async ({ pg, db }) => {
    const client = await pg.connect()
    await client.query('begin')
    await client.query("insert into notes (body) values ('undone')")
    await t.rejects(client.query('savepoint tenancy_1'), { code: 'FST_TENANCY_QUERY_REFUSED' })
    await client.query('rollback')
    client.release()
    await dbOf({ db }).insertInto('notes').values({ body: 'kept' }).execute()
  }, { transaction: true })
  t.same(await on.admin('select body from notes'), [{ body: 'kept' }])
})
