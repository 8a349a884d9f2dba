// A real process restores a tenant and is killed with SIGKILL after each statement in turn. The same
// call then completes the restore.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'

import { until } from '../support/until.ts'
import { change, isAllOrNothing, resume, rowsOf, twoTenants } from './restore-fixture.ts'

const program = fileURLToPath(new URL('restore-process.ts', import.meta.url))

/** Runs a restore that is killed after sending statement `last`. Returns whether it was killed. */
async function isKilled (...args: readonly string[]): Promise<boolean> {
  const [status, signal] = await once(fork(program, args), 'exit')
  if (signal !== 'SIGKILL' && status !== 0) throw new Error(`restore ended with ${status ?? signal}`)
  return signal === 'SIGKILL'
}

/** Backends that still run what the killed process sent, such as its commit. */
const atWork = "select from pg_stat_activity where usename = $1 and state <> 'idle'"

t.jobs = 3
for (const strategy of ['rls', 'schema', 'database'] as const) {
  t.test(`DAT-18 ${strategy}: a restore killed after any statement is completed by the same call`, {
    buffered: true
  }, async t => {
    const { world, acme, folder } = await twoTenants(t, strategy)
    const before = await rowsOf(t, world, acme)
    const interrupted = new Set<string>()
    const owner = new URL(world.ownerUrl).username
    const steps = ['lock', 'wait', 'rows', 'cache', 'record', 'open']
    for (let last = 0;; last++) {
      await change(t, world, acme)
      const changed = await rowsOf(t, world, acme)
      const killed = await isKilled(JSON.stringify(world.options), acme.id, folder, String(last))
      const [operation] = await world.admin<{ done: string[] }>(
        'select done from tenancy.operations where tenant_id = $1 and finished_at is null',
        [acme.id]
      )
      if (operation !== undefined) interrupted.add(steps.find(step => !operation.done.includes(step)) ?? '')
      await until(async () => (await world.admin(atWork, [owner])).length === 0)
      const { rows } = await rowsOf(t, world, acme)
      t.ok(isAllOrNothing(rows, before.rows, changed.rows), `after ${last} statements`)
      await resume(t, world, acme, folder, before.rows)
      if (!killed) break
    }
    t.same([...interrupted].filter(Boolean).toSorted(), steps.toSorted(), 'every step was interrupted')
  })
}
