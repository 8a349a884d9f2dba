import t from 'tap'

import { serverUrl } from '../support/fresh.ts'
import { budget, soak } from './soak.ts'

t.test('DBT-04 fifty tenants by turns, with room for two pools, never exceed the budget', async t => {
  const { wrong, errors, most, kept, left } = await soak(serverUrl(), 1_000)
  t.same(
    errors,
    [],
    'the login may have no more connections than the budget, so that the server would refuse one more'
  )
  t.equal(wrong, 0)
  t.ok(most <= budget, `${most} connections`)
  t.ok(kept <= 3, `two pools of one, and the shard's: ${kept}`)
  t.equal(left, 0)
})
