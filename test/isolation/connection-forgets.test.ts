import t from 'tap'

import { noPgBouncer } from '../support/pgbouncer.ts'
import { assertForgets, assertSeen, prepareGround } from './traces/forgets.ts'

t.setTimeout(120_000)

t.test('PostgreSQL 18, signed contexts', async t => {
  const ground = await prepareGround(t)
  await t.test('control: without a reset each effect is seen', t => assertSeen(t, ground))
  for (const reset of ['auto', 'always'] as const) {
    await t.test(`reset '${reset}': what one tenant leaves on a connection does not meet the next`, t =>
      assertForgets(t, ground, { reset }))
    // With 'always' through the pooler: in the long form.
    for (const pooled of reset === 'auto' ? [1, 4] : []) {
      await t.test(
        `reset '${reset}': nor through PgBouncer with ${pooled} backends`,
        { skip: noPgBouncer },
        t => assertForgets(t, ground, { reset, pooled })
      )
    }
  }
})
