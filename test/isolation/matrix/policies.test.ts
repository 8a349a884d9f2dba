// Strategy rls in all its forms × every kind of statement × everything that can have happened on
// the one connection that two tenants share.
import t from 'tap'

import { place } from './place.ts'
import { problemsOf } from './run.ts'
import { policies } from './strategies.ts'

for (const [name, options] of Object.entries(policies)) {
  t.test(`POOL-01 POOL-05 POOL-06 POOL-07 POOL-08 POOL-14 ${name}: own rows only`, async t => {
    t.same(await problemsOf(await place(t, options)), [])
  })
}
