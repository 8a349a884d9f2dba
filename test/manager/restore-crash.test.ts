// The process dies before each statement of a restore: the rows are either all old or all restored,
// and the same call resumes.
import t from 'tap'

import { isLong } from '../support/long.ts'
import { inLifeOf } from '../support/process-death.ts'
import { change, isAllOrNothing, resume, rowsOf, twoTenants } from './restore-fixture.ts'

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
        t.ok(isAllOrNothing(rows, before.rows, changed.rows), `after ${statements} statements`)
        await resume(t, world, acme, folder, before.rows)
        if (!isDead) return
      }
    }
  )
}
