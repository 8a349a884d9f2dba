// The adoption of an application of ten tables while it runs. adoption.long.test.ts does the same
// with 50,000 rows.
import t from 'tap'

import { adopt } from './ten-tables-fixture.ts'

t.test('DAT-14 adopting ten tables fails no statement and mixes up no tenant', async t => {
  await adopt(t, 1_000)
})
