import { createManager } from '@fastify-tenancy/manager'
import { sql } from 'kysely'
import t from 'tap'

import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import { handle, open, provision } from '../support/tenants.ts'
import { fill, makeHandle, runIsolationHarness } from './harness-handles.ts'

for (const secret of [undefined, false] as const) {
  t.test(
    `${secret === false ? 'plain' : 'signed'}: no leak behind PgBouncer in transaction mode`,
    { skip: noPgBouncer },
    async t => {
      const on = await provision(t, { secret })
      const tables = { tenant: ['projects'], shared: [] }
      await on.admin('create table projects (tenant_id text not null, name text not null)')
      const manager = createManager({
        database: on.superUrl,
        tables,
        ...(on.secret !== undefined && { rls: { secret: on.secret } })
      })
      t.teardown(() => manager.close())
      await manager.protect()
      const database = await open(t, { ...on, tables }, { url: await pgBouncer(t, on.url), pool: { max: 6 } })
      await fill(database)
      await t.resolves(runIsolationHarness(makeHandle(database)))
    }
  )
}

t.test('behind PgBouncer transactions, errors and repeated statements work without named statements', {
  skip: noPgBouncer
}, async t => {
  const on = await provision(t)
  const database = await open(t, on, { url: await pgBouncer(t, on.url), pool: { max: 4 } })
  const { db } = handle(t, database, 'acme')
  await Promise.all(
    Array.from({ length: 40 }, (_, n) => db.insertInto('notes').values({ body: `acme:${n}` }).execute())
  )
  await Promise.all(Array.from({ length: 8 }, () =>
    db.transaction().execute(async trx => {
      await trx.updateTable('notes').set({ n: sql`n + 1` }).where('body', '=', 'acme:0').execute()
      await trx.selectFrom('notes').selectAll().where('n', '>', 0).execute()
    })))
  await t.rejects(sql`select 1 / ${0}::int`.execute(db), { code: '22012' })
  t.same(await db.selectFrom('notes').select('n').where('body', '=', 'acme:0').execute(), [{ n: 8 }])
})
