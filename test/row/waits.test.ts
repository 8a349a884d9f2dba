import { sql } from 'kysely'
import t from 'tap'

import { tcpProxy } from '../support/tcp-proxy.ts'
import { dbOf, openRow, unprotected } from './support.ts'

t.test('row: a statement is one wait, a transaction of k statements k + 1, a refusal none', async t => {
  const proxy = await tcpProxy(t, (await unprotected(t)).url)
  const db = dbOf(t, await openRow(t, proxy.url, { database: { pool: { max: 1 } } }), 'acme')
  const waitsOf = async (work: () => Promise<unknown>): Promise<number> => {
    proxy.reset()
    await work()
    return proxy.waits
  }
  await db.selectFrom('notes').selectAll().execute()
  for (const again of [1, 2])
    t.equal(
      await waitsOf(() =>
        db.selectFrom('notes').innerJoin('tags', 'tags.note_id', 'notes.id').selectAll().where(
          'notes.n',
          '>',
          0
        ).execute()
      ),
      1,
      `select ${again}`
    )
  t.equal(
    await waitsOf(() => db.insertInto('notes').values({ id: 9, body: 'acme:9' }).returning('id').execute()),
    1
  )
  t.equal(await waitsOf(() => db.updateTable('notes').set({ n: 1 }).execute()), 1)
  t.equal(await waitsOf(() => db.deleteFrom('notes').where('id', '=', 9).execute()), 1)
  for (const k of [1, 3]) {
    t.equal(
      await waitsOf(() =>
        db.transaction().execute(async trx => {
          for (let i = 0; i < k; i++) await trx.updateTable('notes').set({ n: i }).execute()
        })
      ),
      k + 1,
      `transaction of ${k}`
    )
  }
  t.equal(
    await waitsOf(async () => {
      await t.rejects(sql`select 1`.execute(db))
    }),
    0
  )
})
