// What Kysely users are used to: the stack of an error, and what the log reports.
import { Kysely, PostgresDialect, sql, type LogEvent } from 'kysely'
import pg from 'pg'
import t from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { handle, open, provision, type Rows } from '../support/tenants.ts'

const on = await provision(t)

async function nameOfTheCaller (db: Kysely<Rows>, how: 'execute' | 'stream'): Promise<string> {
  const query = db.selectFrom('notes').select(sql`1 / 0`.as('n'))
  try {
    if (how === 'execute') await query.execute()
    else for await (const row of query.stream()) void row
    return 'no error'
  } catch (error) {
    return (error as Error).stack ?? ''
  }
}

t.test('the stack of an error of the database names the caller, as plain Kysely’s does', async t => {
  const pool = new pg.Pool({ connectionString: on.superUrl })
  const plain = new Kysely<Rows>({ dialect: new PostgresDialect({ pool }) })
  t.teardown(() => plain.destroy())
  const { db } = handle(t, await open(t, on), 'acme')
  await on.admin("insert into notes (tenant_id, body) values ('acme', 'one')")
  for (const each of [plain, db])
    t.match(await nameOfTheCaller(each, 'execute'), /division by zero[^]*nameOfTheCaller/)
  t.match(await nameOfTheCaller(db, 'stream'), /division by zero[^]*nameOfTheCaller/)
  t.match(
    await db.transaction().execute(async trx => nameOfTheCaller(trx, 'execute')).catch((error: Error) =>
      error.message
    ),
    /nameOfTheCaller|rolled back/
  )
})

t.test('database.log reports begin, commit, rollback and savepoints', async t => {
  const lines: string[] = []
  const log = ({ level, query }: LogEvent): void => {
    lines.push(`${level} ${query.sql.split(' ').slice(0, 3).join(' ')}`)
  }
  const { db } = handle(t, await open(t, on, { log }), 'acme')
  await db.transaction().execute(async trx => {
    await trx.insertInto('notes').values({ body: 'one' }).execute()
  })
  t.same(lines.splice(0), ['query begin', 'query insert into "notes"', 'query commit'])
  const trx = await db.startTransaction().execute()
  await (await trx.savepoint('here').execute()).rollbackToSavepoint('here').execute()
  await trx.rollback().execute()
  t.same(lines.splice(0), ['query begin', 'query savepoint "here"', 'query rollback to savepoint',
    'query rollback'])
  await db.transaction().execute(async own => {
    await sql`select 1 / 0`.execute(own).catch(() => {})
  }).catch(() => {})
  t.same(lines.splice(0), ['query begin', 'error select 1 /', 'error commit'])
})

t.test('database.log reports the transaction of a request, and those inside it', async t => {
  const lines: string[] = []
  const log = ({ level, query }: LogEvent): void => {
    lines.push(`${level} ${query.sql.split(' ').slice(0, 3).join(' ')}`)
  }
  const app = await suite(t, on, { database: { log } })
  app.get('/', { config: { tenancy: { transaction: true } } }, async request => {
    await dbOf(request).transaction().execute(async trx => {
      await trx.selectFrom('notes').select('id').execute()
    })
    await dbOf(request).transaction().execute(async () => {
      throw new Error('undo')
    }).catch(() => {})
    return 'ok'
  })
  app.get('/fails', { config: { tenancy: { transaction: true } } }, async request => {
    await dbOf(request).selectFrom('notes').select('id').execute()
    throw new Error('handler')
  })
  for (const url of ['/', '/fails']) await app.inject({ url, headers: { host: 'acme.example.com' } })
  t.same(lines, [
    'query begin',
    'query savepoint tenancy_1',
    'query select "id" from',
    'query release savepoint tenancy_1',
    'query savepoint tenancy_2',
    'query rollback to savepoint',
    'query commit',
    'query begin',
    'query select "id" from',
    'query rollback'
  ])
})
