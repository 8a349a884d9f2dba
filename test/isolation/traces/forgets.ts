// Each effect of one tenant against all observables of the next, on one connection or one backend
// that both use.
import { createManager } from '@fastify-tenancy/manager'
import type { DatabaseRuntime } from '@fastify-tenancy/database'
import { sql, type Kysely } from 'kysely'
import pg from 'pg'
import type { Test } from 'tap'

import { pgBouncer } from '../../support/pgbouncer.ts'
import { handle, open, provision, type Handle, type Provisioned, type Rows } from '../../support/tenants.ts'
import { effects, prepareEffects, refill, type Effect } from './effects.ts'
import { draw, drawn, everything, unnamedLink } from './observables.ts'

export interface Ground {
  readonly on: Provisioned
  readonly effects: readonly Effect[]
  /** The first value of random() after the seed of the effects. */
  readonly seeded: number
}

const tenantTables = ['notes', 'parents', 'children', 'deferred']

/** A database with the application's functions, and rows of two tenants. */
export async function prepareGround (t: Test, secret?: false): Promise<Ground> {
  const bare = await provision(t, secret === undefined ? {} : { secret })
  await prepareEffects(bare)
  const on = { ...bare, tables: { tenant: tenantTables, shared: ['countries'] } }
  const manager = createManager({
    database: on.superUrl,
    tables: on.tables,
    ...(on.secret !== undefined && { rls: { secret: on.secret } })
  })
  t.teardown(() => manager.close())
  await manager.protect()
  await on.admin(
    "do $$ begin execute format('grant usage on sequence drawn to %I', 'tenancy_app_' || " +
      'substr(md5(current_database()), 1, 8)); end $$'
  )
  await on.admin('select setseed(0.5)')
  const [row] = await on.admin<{ value: number }>('select random() as value')
  const database = await open(t, on)
  for (const id of ['acme', 'globex'])
    await handle(t, database, id).db.insertInto('notes').values({ body: `${id}:1` }).execute()
  return { on, effects: effects(on), seeded: row?.value ?? NaN }
}

type How = 'alone' | 'in a transaction' | 'rolled back' | 'as a stream'
const hows: readonly How[] = ['alone', 'in a transaction', 'rolled back', 'as a stream']

/** Runs an effect. It may fail. */
async function cause ({ db }: Handle, { statement }: Effect, how: How): Promise<void> {
  if (how === 'alone') await statement.execute(db).catch(() => {})
  else if (how === 'as a stream') {
    const rows = db.getExecutor().stream(statement.compile(db), 1)
    await rows.next().catch(() => {})
    await rows.return?.()
  } else {
    await db.transaction().execute(async trx => {
      await statement.execute(trx)
      if (how === 'rolled back') throw new Error('on purpose')
    }).catch(() => {})
  }
}

const ownRows = async (db: Kysely<Rows>): Promise<object[]> =>
  db.selectFrom('notes').select(['id', 'body']).where('n', '=', 0).execute()

export interface ForgetsOptions {
  readonly reset: 'auto' | 'always'
  /** How many backends a PgBouncer between has; undefined without one. */
  readonly pooled?: number
  /** Every effect in every position. @default each effect in one of them, by turns */
  readonly isLong?: boolean
}

/** Plays every effect before every observable. */
export async function assertForgets (
  t: Test,
  ground: Ground,
  { reset, pooled, isLong = false }: ForgetsOptions
): Promise<void> {
  const url = pooled === undefined
    ? ground.on.url
    : await pgBouncer(t, ground.on.url, 'transaction', { size: pooled })
  const database = await open(t, ground.on, { url, reset, pool: { max: 1 }, lockTimeout: '2s' })
  const [acme, globex] = [handle(t, database, 'acme'), handle(t, database, 'globex')]
  const own = await ownRows(globex.db)
  const clean = (await everything.execute(globex.db)).rows
  let turn = 0
  for (const effect of ground.effects) {
    for (const how of isLong ? hows : [hows[turn++ % hows.length] ?? 'alone']) {
      const title = `${effect.ids} ${effect.name}, ${how}`
      const again = async (): Promise<void> => {
        await refill(acme.db)
        await ownRows(acme.db)
        await cause(acme, effect, how)
      }
      const sees = (by: Effect['seenBy']): boolean => isLong || effect.seenBy === by
      await again()
      if (isLong || turn % 2 === 0) t.same((await everything.execute(globex.db)).rows, clean, title)
      else {
        await globex.db.transaction().execute(async trx => {
          t.same((await everything.execute(trx)).rows, clean, `${title}, seen from a transaction`)
        })
      }
      await again()
      t.same(await ownRows(globex.db), own, `${title}: own rows`)
      if (sees('random')) {
        await again()
        t.not(await draw(globex.db), ground.seeded, `${title}: random()`)
      }
      if (sees('link')) {
        await again()
        await t.rejects(unnamedLink.execute(globex.db), { code: '08003' }, `${title}: dblink`)
      }
      for (const question of sees('sequence') ? drawn : []) {
        await again()
        await t.rejects(question.execute(globex.db), { code: '55000' }, `${title}: a sequence`)
      }
    }
  }
  await assertQuiet(t, ground.on, database)
}

// Neither a lock nor an open transaction stays with the server.
async function assertQuiet (t: Test, on: Provisioned, database: DatabaseRuntime): Promise<void> {
  await sql`select 1`.execute(handle(t, database, 'initech').db)
  t.same(
    await on.admin(
      "select from pg_locks where locktype = 'advisory' and database = (select oid from " +
        'pg_database where datname = current_database())'
    ),
    []
  )
}

/** Shows that the observables see the effects where nothing is reset. */
export async function assertSeen (t: Test, { on, effects, seeded }: Ground): Promise<void> {
  const database = await open(t, on)
  const { db } = handle(t, database, 'acme')
  for (const effect of effects) {
    if (effect.breaksReset || effect.isOfTenant) continue
    const client = new pg.Client({ connectionString: on.superUrl })
    await client.connect()
    const ask = async (text: string): Promise<unknown> => (await client.query(text)).rows
    const outcome = async (text: string): Promise<unknown> =>
      client.query(text).then(({ rows }) => rows, (error: { code: string }) => error.code)
    await client.query(
      "set tenancy.tenant = 'acme'; insert into parents values ('acme', 1) on conflict do nothing; " +
        "insert into children values ('acme', 1); prepare t_1 as select 1"
    )
    const questions = [everything, ...drawn, unnamedLink].map(question => question.compile(db).sql)
    const before = [await ask(questions[0] ?? ''), '55000', '55000', '08003']
    const { sql: text, parameters } = effect.statement.compile(db)
    await client.query(text, [...parameters]).catch(() => {})
    const isSeeded = (await client.query('select random() as value')).rows[0].value === seeded
    const after: unknown[] = []
    for (const question of questions) after.push(await outcome(question))
    await client.end()
    t.ok(isSeeded || JSON.stringify(after) !== JSON.stringify(before), `${effect.ids} ${effect.name}`)
  }
}
