// What one tenant does to the connection before the other gets it.
import assert from 'node:assert/strict'

import { until } from '../../support/until.ts'
import type { StatementKind } from './statements.ts'
import type { Admin, Place, PlaceTenant, Request } from './place.ts'

/** `kind` is what the next tenant will run. Resolves when the connection is back, or gone. */
export type Disturb = (place: Place, tenant: PlaceTenant, kind: StatementKind) => Promise<void>

// Built, and not raw: a strategy that rewrites queries must let it pass.
function fail (db: Request['db']): Promise<unknown> {
  return db.selectFrom('notes').selectAll().where(eb =>
    eb(eb.cast<number>(eb.val('no number'), 'integer'), '=', 1)
  ).execute()
}

/** Has `work` meet a table that is locked; it must fail. */
async function stuck ({ client, notes }: Admin, work: () => Promise<unknown>, code: string): Promise<void> {
  await client.query(`begin; lock table ${notes} in access exclusive mode`)
  await assert.rejects(work(), { code })
  await client.query('rollback')
}

// Not pg_stat_activity: within a transaction that answers the same again and again.
async function isWaiting ({ client, notes }: Admin): Promise<boolean> {
  return (await client.query(
    'select from pg_locks where relation = $1::regclass and database = (select oid from ' +
      'pg_database where datname = current_database()) and not granted',
    [notes]
  )).rowCount === 1
}

/** Kills every other backend of the database, and waits for their end. */
async function killAll ({ client }: Admin): Promise<void> {
  const others = 'from pg_stat_activity where datname = current_database() and usename <> current_user and ' +
    "backend_type = 'client backend'"
  await client.query(`select pg_terminate_backend(pid) ${others}`)
  await until(async () => (await client.query(`select ${others}`)).rowCount === 0)
}

function adminOf (place: Place, tenant: PlaceTenant): Admin {
  const admin = place.adminOf(tenant)
  if (admin === undefined) throw new TypeError('this needs a server')
  return admin
}

/** No server takes this time limit, so that the context before the statement fails. */
export async function failedContext (_place: Place, { request }: PlaceTenant): Promise<void> {
  await assert.rejects(request(-5).db.selectFrom('notes').selectAll().execute(), { code: '22023' })
}

/** Those that any database can have. */
export const anywhere: Readonly<Record<string, Disturb>> = {
  'a connection that is new': async (_place, { request }) => {
    const { db, scope } = request()
    const trx = await db.startTransaction().execute()
    await trx.updateTable('notes').set({ n: 7 }).execute()
    // Its transaction has no owner any more, so the connection cannot stay.
    scope.abort()
  },

  'a connection on which the other ran the same': async (_place, { name, request }, { run }) => {
    await run(request().db, n => `${name}:${n}`).catch(() => {})
  },

  'after an error': async (_place, { request }) => {
    await assert.rejects(fail(request().db), { code: '22P02' })
  },

  'after an error in a transaction': async (_place, { request }) => {
    await assert.rejects(
      request().db.transaction().execute(async trx => {
        await trx.updateTable('notes').set({ n: 7 }).execute()
        await fail(trx)
      }),
      { code: '22P02' }
    )
  },

  'after a stream that was left half-way': async (_place, { request }) => {
    for await (const row of request().db.selectFrom('notes').selectAll().stream(1)) {
      assert.ok(row)
      break
    }
  },

  'after a context that failed': failedContext
}

/** Those that need a server. */
export const onServer: Readonly<Record<string, Disturb>> = {
  'after a statement timeout': async (place, tenant) => {
    await stuck(
      adminOf(place, tenant),
      () => tenant.request(10).db.selectFrom('notes').selectAll().execute(),
      '57014'
    )
  },

  'after an abort in the middle of a statement': async (place, tenant) => {
    const admin = adminOf(place, tenant)
    await stuck(admin, async () => {
      const { db, scope } = tenant.request()
      const { promise: checkedOut, resolve } = Promise.withResolvers<void>()
      const enter = scope.enter.bind(scope)
      scope.enter = () => {
        enter()
        resolve()
      }
      const rows = db.selectFrom('notes').selectAll().execute()
      // The statement is sent right after its connection is checked out. Another session may wait for
      // the lock earlier.
      await Promise.race([rows, checkedOut.then(() => until(() => isWaiting(admin)))])
      scope.abort()
      return rows
    }, 'FST_TENANCY_DATABASE_UNAVAILABLE')
  },

  'after its backend was killed in a transaction': async (place, tenant) => {
    await assert.rejects(
      tenant.request().db.transaction().execute(async trx => {
        await trx.deleteFrom('notes').execute()
        await killAll(adminOf(place, tenant))
        await trx.selectFrom('notes').selectAll().execute()
      }),
      { code: 'FST_TENANCY_DATABASE_UNAVAILABLE' }
    )
  },

  'after its backend was killed while it was idle': async (place, tenant) => {
    await killAll(adminOf(place, tenant))
  }
}
