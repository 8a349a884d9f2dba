// The process dies before each statement of a restore: the rows are either all old or all restored,
// and the same call resumes.
import t from 'tap'

import { isLong } from '../support/long.ts'
import { inLifeOf } from '../support/process-death.ts'
import { until } from '../support/until.ts'
import { change, rowsOf, twoTenants } from './restore-fixture.ts'

/** Step width over the statements: the daily run tries one in 19. `npm run test:long` tries all. */
const stride = isLong ? 1 : 19

t.jobs = 3
for (const [index, strategy] of (['rls', 'schema', 'database'] as const).entries()) {
  t.test(
    `DAT-18 ${strategy}: a restore that dies before any statement is resumed by the same call`,
    { buffered: true },
    async t => {
      const { world, acme, folder } = await twoTenants(t, strategy)
      const before = await rowsOf(t, world, acme)
      for (let statements = index;; statements += stride) {
        await change(t, world, acme)
        const changed = await rowsOf(t, world, acme)
        const isDead = await inLifeOf(statements, async () => {
          const mortal = world.another()
          await mortal.restore(acme, { from: folder })
          await mortal.close()
        })
        const { rows } = await rowsOf(t, world, acme)
        t.ok(
          [JSON.stringify(before.rows), JSON.stringify(changed.rows)].includes(JSON.stringify(rows)),
          `all or nothing after ${statements} statements`
        )
        const next = world.another()
        await until(() =>
          next.restore(acme, { from: folder }).then(() => true, (error: Error) => {
            if (error.message.includes('at this moment')) return undefined
            throw error
          })
        )
        t.same((await rowsOf(t, world, acme)).rows, before.rows)
        t.match(await next.get(acme), { status: 'active' })
        const locks = await world.admin('select reason from tenancy.lockouts')
        t.same(locks, [], 'the lock is gone')
        if (!isDead) return
      }
    }
  )
}
