import { sql } from 'kysely'
import t from 'tap'

import { handle, open, provision } from '../support/tenants.ts'

const refused: Readonly<Record<string, readonly string[]>> = {
  COPY: ['copy notes to stdout', 'copy notes from stdin', "copy (select * from notes) to program 'cat'"],
  LISTEN: ['listen notes', 'unlisten *', "notify notes, 'acme:1'"],
  'advisory lock': ['select pg_advisory_lock(1)', 'select pg_try_advisory_lock(1)',
    'select pg_advisory_lock_shared(1)', 'select 1 from notes where PG_CATALOG.Pg_Advisory_Lock(1) is null'],
  'temp table': ['create temp table notes (body text)', 'create temporary table x as select * from notes',
    'select * into temp x from notes', 'with n as (select * from notes) select * into temporary x from n',
    'create temp view x as select 1']
}

const on = await provision(t)

for (const [what, texts] of Object.entries(refused)) {
  t.test(`CPY-01 ${what} through request.db is refused, and the next tenant sees no trace`, async t => {
    const database = await open(t, on, { pool: { max: 1 } })
    const [a, b] = [handle(t, database, 'acme'), handle(t, database, 'globex')]
    for (const text of texts) {
      await t.rejects(sql.raw(text).execute(a.db), { code: 'FST_TENANCY_QUERY_REFUSED' }, text)
      await t.rejects(
        a.db.transaction().execute(async trx => {
          await trx.selectFrom('notes').selectAll().execute()
          await sql.raw(text).execute(trx)
        }),
        { code: 'FST_TENANCY_QUERY_REFUSED' },
        text
      )
      // Of this session alone: the backend of a closed connection takes a moment to clean up.
      const left = await sql`select from pg_class where relnamespace = pg_my_temp_schema()`.execute(b.db)
      t.equal(left.rows.length, 0, text)
      t.same(
        await on.admin(
          "select from pg_locks where locktype = 'advisory' and database = (select oid from " +
            'pg_database where datname = current_database())'
        ),
        [],
        text
      )
      t.same(await b.db.selectFrom('notes').selectAll().execute(), [])
    }
  })
}

t.test('an advisory lock of a transaction is held to its end', async t => {
  const database = await open(t, on, { pool: { max: 1 } })
  const locks = async (): Promise<number> =>
    (await on.admin(
      "select from pg_locks where locktype = 'advisory' and database = (select oid from " +
        'pg_database where datname = current_database())'
    )).length
  await handle(t, database, 'acme').db.transaction().execute(async trx => {
    await sql`select pg_advisory_xact_lock(1)`.execute(trx)
    t.equal(await locks(), 1)
  })
  t.equal(await locks(), 0)
})
