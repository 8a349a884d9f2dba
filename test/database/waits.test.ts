import { sql } from 'kysely'
import type { Socket } from 'node:net'
import pg from 'pg'
import t from 'tap'

import { handle, open, provision } from '../support/tenants.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'

for (const secret of [undefined, false] as const) {
  t.test(`${secret === false ? 'plain' : 'signed'}: one wait a statement, k + 1 for k of them`, async t => {
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
  const client = new pg.Client({ connectionString: proxy.url })
  await client.connect()
  t.teardown(() => client.end())
  proxy.reset()
  for (const text of ['begin', "select set_config('a.b', 'c', true)", 'select 1', 'commit'])
    await client.query(text)
  t.equal(proxy.waits, 4)
})

t.test('a statement is one write of the socket, with its context and with a reset', async t => {
  const on = await provision(t)
  const pool = new pg.Pool({ connectionString: on.url, max: 1 })
  t.teardown(() => pool.end())
  let writes = 0
  pool.on('connect', client => {
    const { stream } = (client as unknown as { connection: { stream: Socket } }).connection
    for (const name of ['_write', '_writev'] as const) {
      const write = stream[name]!.bind(stream) as (...args: unknown[]) => void
      stream[name] = (...args: unknown[]) => {
        writes++
        write(...args)
      }
    }
  })
  const database = await open(t, on, { url: pool })
  const [acme, globex] = [handle(t, database, 'acme').db, handle(t, database, 'globex').db]
  const writesOf = async (work: () => Promise<unknown>): Promise<number> => {
    writes = 0
    await work()
    return writes
  }
  t.equal(await writesOf(() => acme.selectFrom('notes').selectAll().execute()), 1, 'parsed anew')
  t.equal(await writesOf(() => acme.selectFrom('notes').selectAll().execute()), 1, 'once more')
  t.equal(
    await writesOf(() => sql`select 1 as one`.execute(globex)),
    1,
    'raw SQL of another tenant, with a reset'
  )
  t.equal(
    await writesOf(() => pool.query('begin').then(() => pool.query('commit'))),
    2,
    'control: two queries'
  )
})
