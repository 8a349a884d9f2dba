// The other strategies, and PGlite × every kind of statement × everything that can have happened on
// the one connection that two tenants share.
import t from 'tap'

import { embeddedPlace, place } from './place.ts'
import { afterFailedContexts, problemsOf } from './run.ts'
import { others } from './strategies.ts'

for (const [name, options] of Object.entries(others)) {
  t.test(`POOL-01 POOL-05 POOL-06 POOL-07 POOL-08 POOL-14 SCH-02 ${name}: own rows only`, async t => {
    t.same(await problemsOf(await place(t, options)), [])
  })
}

t.test('POOL-01 POOL-09 POOL-14 PGlite: own rows only', async t => {
  const embedded = await embeddedPlace(t)
  t.same(await problemsOf(embedded), [])
  t.same(await afterFailedContexts(embedded), [])
})
