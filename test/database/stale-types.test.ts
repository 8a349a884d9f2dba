import { sql, type Kysely } from 'kysely'
import t, { type Test } from 'tap'

import { until } from '../support/until.ts'
import { handle, open, provision } from '../support/tenants.ts'

// Tables that the tests make as they go.
type Tables = Record<string, Record<string, unknown>>

const on = await provision(t)
await on.admin('create extension citext')

interface Change {
  readonly from: string
  readonly to: string
  readonly value: unknown
  /** What the column must hold. */
  readonly holds: string
  /** How its values are converted. */
  readonly using?: string
  /** A value that only the new type takes. */
  readonly next?: unknown
  readonly nextHolds?: string
}

const at = '2026-02-03 04:05:06.789+00'

// What PostgreSQL would silently write wrong: the parameter keeps the type that the column had.
const silent: Change[] = [
  { from: 'timestamp', to: 'timestamptz', value: at, holds: at },
  { from: 'date', to: 'timestamp', value: '2026-02-03 04:05:06', holds: '2026-02-03 04:05:06' },
  { from: 'real', to: 'double precision', value: 0.1, holds: '0.1' },
  { from: 'text', to: 'citext', value: 'Text', holds: 'Text' }
]
// What fails until the statement is parsed anew.
const loud: Change[] = [
  { from: 'int', to: 'bigint', value: 1, holds: '1', next: '5000000000', nextHolds: '5000000000' },
  {
    from: 'text',
    to: 'jsonb',
    using: 'to_jsonb(v)',
    value: '"a"',
    holds: '"a"',
    next: '{"a": 1}',
    nextHolds: '{"a": 1}'
  },
  { from: 'mood', to: 'mood', value: 'glad', holds: 'glad', next: 'glad', nextHolds: 'glad' }
]

let count = 0
/** A tenant table with one column of the old type, and a function that changes the type. */
async function table (
  { from, to, using = `v::${to}` }: Change
): Promise<{ name: string; type: string; change: () => Promise<void> }> {
  const name = `typed_${++count}`
  const [mood, old] = [`mood_${count}`, `old_mood_${count}`]
  if (from === 'mood') await on.admin(`create type ${mood} as enum ('glad')`)
  await on.admin(
    `create table ${name} (tenant_id text not null default current_setting('tenancy.tenant'), v ${
      from === 'mood' ? mood : from
    }); grant all on ${name} to public`
  )
  const change = from === 'mood'
    ? `alter type ${mood} rename to ${old}; create type ${mood} as enum ('glad', 'sad');
      alter table ${name} alter v type ${mood} using v::text::${mood}; drop type ${old}`
    : `alter table ${name} alter v type ${to} using ${using}`
  return {
    name,
    type: from === 'mood' ? mood : to,
    change: async () => {
      await on.admin(change)
    }
  }
}

// Far from the server's zone, so that a value of the old type is another point of time.
const url = `${on.url}?options=-c%20timezone%3DAsia/Tokyo`

const insert = (db: Kysely<Tables>, name: string, value: unknown): Promise<unknown> =>
  db.insertInto(name).values({ v: value }).execute()

for (const change of [...silent, ...loud]) {
  t.test(`CON-06 ${change.from} becomes ${change.to}: the same insert is right once announced`, async t => {
    const { name, type, change: alter } = await table(change)
    const database = await open(t, on, { url, pool: { max: 1 } })
    const { db } = handle(t, database, 'acme')
    let heard = 0
    const stop = await database.registry.watch?.(() => {
      heard++
    })
    t.teardown(() => stop?.())
    await insert(db as never, name, change.value)
    await alter()
    // The second message is heard after the first was acted on.
    await on.admin(
      'delete from ' + name + "; select pg_notify('tenancy', 'catalog'), pg_notify('tenancy', 'anything')"
    )
    await until(() => heard > 0)
    await insert(db as never, name, change.next ?? change.value)
    const [row] = await on.admin(`select v::text, ($1::text::${type})::text as wanted from ${name}`, [
      change.nextHolds ?? change.holds
    ])
    t.equal(row?.v, row?.wanted)
  })
}

t.test('control: unannounced, a parameter keeps the old type, and the value is wrong', async t => {
  await on.admin('alter event trigger tenancy_catalog disable')
  t.teardown(() => on.admin('alter event trigger tenancy_catalog enable always'))
  const { name, change: alter } = await table(silent[0] as Change)
  const { db } = handle(t, await open(t, on, { url, pool: { max: 1 } }), 'acme')
  await insert(db as never, name, at)
  await alter()
  await on.admin(`delete from ${name}`)
  await insert(db as never, name, at)
  t.same(await on.admin(`select v = $1::timestamptz as is_right from ${name}`, [at]), [{ is_right: false }])
})

for (const change of loud) {
  t.test(`CON-06 ${change.from} becomes ${change.to} by hand: the statement is parsed again`, async t => {
    const { name, change: alter } = await table(change)
    const database = await open(t, on, { pool: { max: 1 } })
    const { db } = handle(t, database, 'acme')
    await insert(db as never, name, change.value)
    await alter()
    await insert(db as never, name, change.next)
    t.same(await on.admin(`select v::text as v from ${name} where v::text = $1`, [change.nextHolds]), [{
      v: change.nextHolds
    }, ...(change.nextHolds === change.holds ? [{ v: change.holds }] : [])])

    const second = await table(change)
    await insert(db as never, second.name, change.value)
    await second.change()
    await db.transaction().execute(trx => insert(trx as never, second.name, change.next))
    t.equal((await on.admin(`select v from ${second.name}`)).length, 2)
  })
}

const add = (trx: Kysely<Tables>, n: unknown): Promise<unknown> =>
  trx.insertInto('notes').values({ body: 'acme:x', n }).execute()

t.test('CON-06 a value that fits no type fails as before, and the transaction stays open', async t => {
  const database = await open(t, on, { pool: { max: 1 } })
  const { db } = handle(t, database, 'acme')
  await add(db as never, 1)
  await t.rejects(add(db as never, 'seven'), { code: '22P02' })
  await t.rejects(
    db.transaction().execute(async trx => {
      await add(trx as never, 1)
      await add(trx as never, 'seven')
    }),
    { code: '22P02' }
  )
})

const all = (db: Kysely<Tables>): Promise<unknown[]> =>
  db.selectFrom('widened').selectAll().where('id', '>', 0).execute()

async function widened (t: Test): Promise<{ db: Kysely<Tables>; widen: () => Promise<void> }> {
  await on.admin(
    'drop table if exists widened; create table widened (id int); ' +
      'insert into widened values (1), (2), (3); grant select on widened to public'
  )
  const database = await open(t, on, { pool: { max: 1 }, tripwire: false })
  const db = handle(t, database, 'acme').db as unknown as Kysely<Tables>
  await all(db)
  let column = 0
  return {
    db,
    widen: async () => {
      await on.admin(`alter table widened add column c${++column} int`)
    }
  }
}

t.test('CON-07 a column is added: the same select runs again where nothing ran before', async t => {
  const { db, widen } = await widened(t)
  await widen()
  t.equal((await all(db)).length, 3, 'alone')
  await widen()
  await db.transaction().execute(async trx =>
    t.equal((await all(trx)).length, 3, 'as the first statement of a transaction')
  )
  await widen()
  await db.transaction().setIsolationLevel('serializable').execute(async trx => {
    t.equal((await all(trx)).length, 3)
    t.match((await sql`select current_setting('transaction_isolation') as level`.execute(trx)).rows, [{
      level: 'serializable'
    }], 'which keeps its level')
  })
  await widen()
  const trx = await db.startTransaction().execute()
  const saved = await trx.savepoint('before').execute()
  t.equal((await all(saved)).length, 3, 'behind a savepoint')
  await (await saved.rollbackToSavepoint('before').execute()).commit().execute()
  await widen()
  const read: unknown[] = []
  for await (const row of db.selectFrom('widened').selectAll().where('id', '>', 0).stream(1)) read.push(row)
  t.equal(read.length, 3, 'as a stream')
  await widen()
  await db.transaction().execute(async trx => {
    const rows: unknown[] = []
    for await (const row of trx.selectFrom('widened').selectAll().where('id', '>', 0).stream(1))
      rows.push(row)
    t.equal(rows.length, 3, 'as a stream in a transaction')
  })
})

t.test('CON-07 inside a transaction a stale plan gives 503, and the next attempt succeeds', async t => {
  const { db, widen } = await widened(t)
  const work = (between: () => Promise<void>): Promise<unknown> =>
    db.transaction().execute(async trx => {
      await trx.insertInto('notes').values({ body: 'acme:1' }).execute()
      await between()
      return all(trx)
    })
  await t.rejects(work(widen), { code: 'FST_TENANCY_DATABASE_UNAVAILABLE', statusCode: 503 })
  t.equal((await work(async () => {}) as unknown[]).length, 3)
})

t.test('CON-07 a change that one connection met has the others forget their names, too', async t => {
  const { db } = await widened(t)
  const database = await open(t, on, { pool: { max: 2 }, tripwire: false, fairness: { share: 1 } })
  const other = handle(t, database, 'globex').db as unknown as Kysely<Tables>
  const [first, second] = [await other.startTransaction().execute(),
    await handle(t, database, 'initech').db.startTransaction().execute()]
  await all(first)
  await all(second as never)
  await first.commit().execute()
  await second.commit().execute()
  await on.admin('alter table widened add column late int')
  await all(other)
  const [one, two] = [await other.startTransaction().execute(),
    await handle(t, database, 'initech').db.startTransaction().execute()]
  for (const trx of [one, two]) {
    await sql`select 1`.execute(trx)
    t.equal((await all(trx as never)).length, 3, 'on the other connection nothing has to fail first')
    await trx.commit().execute()
  }
  t.ok(db)
})
