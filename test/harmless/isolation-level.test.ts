// A transaction with an isolation level behind a reset: the reset must take no snapshot before it
// begins.
import { sql } from 'kysely'
import t from 'tap'

import { handle, open, provision } from '../support/tenants.ts'

t.test('a transaction with an isolation level begins behind a reset in the same batch', async t => {
  const on = await provision(t)
  const database = await open(t, on, { pool: { max: 1 } })
  const [acme, globex] = [handle(t, database, 'acme').db, handle(t, database, 'globex').db]
  await sql`select 1`.execute(acme)
  const level = await globex.transaction().setIsolationLevel('serializable').execute(async trx => {
    await trx.selectFrom('notes').selectAll().execute()
    return (await sql<{ level: string }>`select current_setting('transaction_isolation') as level`.execute(
      trx
    )).rows[0]?.level
  })
  t.equal(level, 'serializable')
})
