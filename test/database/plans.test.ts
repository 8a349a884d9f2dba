import { sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'

import { handle, open, provision, testSecret } from '../support/tenants.ts'
import { harmlessHandles } from './harmless-handle.ts'

/**
 * The plans that the server reports through `auto_explain` while `work` runs: of the driver's own
 * statements, on its own connection.
 */
async function planner (t: Test, url: string): Promise<{ pool: pg.Pool; plans: string[] }> {
  const pool = new pg.Pool({
    connectionString: url,
    max: 1,
    options: '-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 -c ' +
      'auto_explain.log_level=notice -c client_min_messages=notice'
  })
  t.teardown(() => pool.end())
  const plans: string[] = []
  pool.on('connect', client =>
    client.on('notice', ({ message }) => {
      if (message?.includes('from notes')) plans.push(message)
    }))
  return { pool, plans }
}

/** The planner's estimate of the rows that the scan of `notes` gives. */
function estimate (plan: string): number {
  return Number(
    /(?:Scan|Scan using \S+|Scan on \S+)[^\n]* on notes[^\n]*rows=(\d+)/.exec(plan)?.[1] ??
      /rows=(\d+)/.exec(plan.slice(plan.indexOf('notes')))?.[1]
  )
}

for (const [mode, secret] of [['signed', testSecret], ['plain', false]] as const) {
  t.test(`PLN-01 ${mode}: tenants of 5 and 400,000 rows each get their own plan`, async t => {
    const on = await provision(t, { secret })
    await on.admin(
      "insert into notes (tenant_id, body) select 'whale', 'whale:' || n from generate_series(1, 400000) n"
    )
    await on.admin(
      "insert into notes (tenant_id, body) select 'minnow', 'minnow:' || n from generate_series(1, 5) n"
    )
    await on.admin('analyze notes')
    for (const order of [['whale', 'minnow'], ['minnow', 'whale']] as const) {
      const { pool, plans } = await planner(t, on.superUrl)
      const database = await open(t, on, { url: pool })
      const [first, second] = order.map(id => handle(t, database, id))
      for (
        const { db } of [first, first, first, first, first, first, first, second].filter(given =>
          given !== undefined
        )
      ) {
        plans.length = 0
        await sql`select max(n) from notes where n >= ${0}`.execute(db)
      }
      const [whales, minnows] = order[1] === 'whale' ? [plans[0] ?? '', ''] : ['', plans[0] ?? '']
      if (whales !== '') t.ok(estimate(whales) > 40_000, `the whale after the minnow: ${whales}`)
      else t.ok(
          estimate(minnows) < 1_000 && minnows.includes('Index'),
          `the minnow after the whale: ${minnows}`
        )
    }
  })
}

t.test("control: with shared plans and no reset the second tenant gets the first one's plan", async t => {
  const on = await provision(t, { secret: false })
  await on.admin(
    "insert into notes (tenant_id, body) select 'whale', 'whale:' || n from generate_series(1, 400000) n"
  )
  await on.admin(
    "insert into notes (tenant_id, body) select 'minnow', 'minnow:' || n from generate_series(1, 5) n"
  )
  await on.admin('analyze notes')
  const { pool, plans } = await planner(t, on.superUrl)
  const handleOf = await harmlessHandles(t, on, { url: pool, plans: 'shared' }, () => true)
  const [whale, minnow] = [handleOf('whale'), handleOf('minnow')]
  for (let i = 0; i < 7; i++) await sql`select max(n) from notes where n >= ${0}`.execute(whale)
  plans.length = 0
  await sql`select max(n) from notes where n >= ${0}`.execute(minnow)
  t.ok(estimate(plans[0] ?? '') > 40_000, plans[0] ?? '')
})
