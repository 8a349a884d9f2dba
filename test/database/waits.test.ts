import { sql } from 'kysely'
import t from 'tap'

import { handle, open, provision } from '../support/tenants.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'

for (const secret of [undefined, false] as const) {
  t.test(`${secret === false ? 'plain' : 'signed'}: a statement is one wait, and a transaction of k statements k + 1`, async t => {
    const on = await provision(t, { secret })
    const proxy = await tcpProxy(t, on.url)
    const database = await open(t, on, { url: proxy.url, pool: { max: 1 } })
    const { db } = handle(t, database, 'acme')
    const waitsOf = async (work: () => Promise<unknown>): Promise<number> => {
      proxy.reset()
      await work()
      return proxy.waits
    }
    await db.selectFrom('notes').selectAll().execute()

    t.equal(
      await waitsOf(() => db.insertInto('notes').values({ body: 'acme:1' }).execute()),
      1,
      'insert, first time'
    )
    t.equal(
      await waitsOf(() => db.insertInto('notes').values({ body: 'acme:2' }).returning('id').execute()),
      1,
      'insert returning'
    )
    for (const again of [1, 2])
      t.equal(
        await waitsOf(() => db.selectFrom('notes').selectAll().where('body', '=', 'acme:1').execute()),
        1,
        `select ${again}`
      )
    t.equal(await waitsOf(() => db.selectFrom('notes').selectAll().execute()), 1, 'select without parameters')
    t.equal(await waitsOf(() => db.updateTable('notes').set({ n: 1 }).execute()), 1, 'update')
    t.equal(await waitsOf(() => sql`delete from notes where body = ${'acme:2'}`.execute(db)), 1, 'raw delete')
    for (const k of [1, 2, 5]) {
      t.equal(
        await waitsOf(() =>
          db.transaction().execute(async trx => {
            for (let i = 0; i < k; i++) await trx.insertInto('notes').values({ body: `acme:${i}` }).execute()
          })
        ),
        k + 1,
        `transaction of ${k}`
      )
    }
    t.equal(await waitsOf(() => db.transaction().execute(async () => {})), 0, 'an empty transaction')
  })
}

t.test('control: the usual begin, set_config, query, commit is four waits at the same proxy', async t => {
  const on = await provision(t)
  const proxy = await tcpProxy(t, on.superUrl)
  const { default: pg } = await import('pg')
  const client = new pg.Client({ connectionString: proxy.url })
  await client.connect()
  t.teardown(() => client.end())
  proxy.reset()
  for (const text of ['begin', "select set_config('a.b', 'c', true)", 'select 1', 'commit'])
    await client.query(text)
  t.equal(proxy.waits, 4)
})
