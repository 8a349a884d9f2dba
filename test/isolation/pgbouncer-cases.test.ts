// Cases of connections behind PgBouncer in transaction mode, with one and four server connections.
import { sql } from 'kysely'
import pg from 'pg'
import t from 'tap'

import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import { handle, open, provision } from '../support/tenants.ts'

for (const size of [1, 4]) {
  t.test(`CON-06 CON-07 CON-24 CON-25 through PgBouncer with ${size} server connections`, {
    skip: noPgBouncer,
    buffered: true
  }, async t => {
    const on = await provision(t)
    const url = await pgBouncer(t, on.url, 'transaction', { size })
    const database = await open(t, on, { url, pool: { max: 4 } })
    const [acme, globex] = [handle(t, database, 'acme').db, handle(t, database, 'globex').db]

    await acme.insertInto('notes').values({ body: 'acme:1' }).execute()
    for (let n = 0; n < 2 * size; n++) {
      await t.rejects(
        sql`select lastval()`.execute(globex),
        { code: '55000' },
        'CON-24 nothing that acme drew'
      )
      t.same(
        (await sql`select statement from pg_prepared_statements where statement like '%notes%'`.execute(
          globex
        )).rows,
        []
      )
      await acme.insertInto('notes').values({ body: `acme:${n}` }).execute()
    }

    await on.admin("alter table notes add at date default '2026-01-01'")
    const all = (db: typeof acme): Promise<unknown[]> =>
      db.selectFrom('notes').selectAll().where('body', '=', 'acme:1').execute()
    const add = (at: string): Promise<unknown> =>
      sql`insert into notes (body, at) values ('dated', ${at})`.execute(acme)
    await Promise.all(Array.from({ length: 8 }, () => all(acme)))
    await add('2026-02-03 04:05:06')
    await on.admin('alter table notes alter at type timestamp; alter table notes add more int')
    await add('2026-02-03 04:05:06')
    t.same(
      await on.admin("select at::text from notes where body = 'dated' order by at"),
      [{ at: '2026-02-03 00:00:00' }, { at: '2026-02-03 04:05:06' }],
      'CON-06 the right value at once'
    )
    const first = await acme.transaction().execute(async trx => {
      const before = await all(trx)
      await on.admin('alter table countries add more int')
      return [before.length, (await all(trx)).length]
    })
    t.ok(first.every(n => n > 0), 'CON-07 as the first statement of a transaction, and within')
    await on.admin('alter table notes add third int')
    let streamed = 0
    for await (const _ of acme.selectFrom('notes').selectAll().stream(2)) streamed++
    t.ok(streamed > 1, 'CON-07 as a stream')

    // What a function would do with the login's own rights.
    const login = decodeURIComponent(new URL(on.url).username)
    await on.admin(
      `alter role "${login}" set statement_timeout = '77s'; alter role "${login}" set work_mem = '77MB'`
    )
    const bare = new pg.Client(on.url)
    await bare.connect()
    t.equal(
      (await bare.query('show statement_timeout')).rows[0]?.statement_timeout,
      '77s',
      'control: a new session has it'
    )
    await bare.end()
    const again = await open(t, on, { url, pool: { max: 4 } })
    const { rows } = await sql<{ bound: string }>`select current_setting('statement_timeout') as bound`
      .execute(
        handle(t, again, 'globex').db
      )
    t.not(rows[0]?.bound, '77s', 'CON-25 a statement of a tenant has its own bound')
    await on.admin(`alter role "${login}" reset all`)
  })
}
