import { sql } from 'kysely'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import t from 'tap'

import { isLong } from '../support/long.ts'
import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import { handle, open, type Handle } from '../support/tenants.ts'
import { prepareGround } from './traces/forgets.ts'
import { everything } from './traces/observables.ts'

t.setTimeout(isLong ? 1_800_000 : 120_000)

const ground = await prepareGround(t)
const rounds = isLong ? 4_000 : 150
// A lock of one tenant's session would hold up another tenant's: that is no trace.
const effects = ground.effects.filter(({ name, breaksReset }) => !breaksReset && !/lock|deferred/.test(name))

/** Numbers that are the same in each run. */
function numbers (seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor(state / 2 ** 32 * below)
  }
}

const ways = {
  'direct, four connections': undefined,
  'PgBouncer with one backend': 1,
  'PgBouncer with four backends': 4
}

for (const [way, size] of Object.entries(ways)) {
  t.test(`CON-03 CON-20 ${way}: no effect is seen by another tenant under load, in any mix`, {
    skip: size !== undefined && noPgBouncer
  }, async t => {
    const failures: unknown[] = []
    const note = (failure: unknown): void => {
      failures.push(failure)
    }
    subscribe('fastify-tenancy:undo-failed', note)
    t.teardown(() => unsubscribe('fastify-tenancy:undo-failed', note))
    const url = size === undefined
      ? ground.on.url
      : await pgBouncer(t, ground.on.url, 'transaction', { size })
    const database = await open(t, ground.on, {
      url,
      pool: { max: 4 },
      fairness: { maxWaiting: 1_000, maxWait: '60s' }
    })
    // Those of odd numbers look, those of even ones act.
    const handles = Array.from({ length: 8 }, (_, n) => handle(t, database, `mixed-${n}`))
    const clean = (await everything.execute((handles[1] as Handle).db)).rows
    const below = numbers(42)
    const seen: unknown[] = []
    await Promise.all(Array.from({ length: rounds }, async () => {
      const { db } = handles[below(4) * 2 + below(2)] as Handle
      const isActor = handles.findIndex(candidate => candidate.db === db) % 2 === 0
      const effect = effects[below(effects.length)]
      const isTransaction = below(2) === 0
      if (isActor && effect !== undefined) {
        await (isTransaction
          ? db.transaction().execute(trx => effect.statement.execute(trx))
          : effect.statement.execute(db)).catch(() => {})
      } else if (isTransaction)
        await db.transaction().execute(async trx => {
          seen.push(...(await everything.execute(trx)).rows)
        })
      else seen.push(...(await everything.execute(db)).rows)
    }))
    t.ok(seen.length > rounds / 4)
    t.same(seen.filter(row => JSON.stringify(row) !== JSON.stringify(clean[0])), [])
    t.same(failures, [])
    t.match((await sql`select 1 as one`.execute((handles[0] as Handle).db)).rows, [{ one: 1 }])
  })
}
