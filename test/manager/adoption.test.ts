// The adoption of an application of ten tables, at work all the while; adoption.long.test.ts does it with 50,000 rows.
import t from 'tap'

import { adopt } from './adoption-world.ts'

t.test('DAT-14 adopting ten tables fails no statement and mixes up no tenant', async t => {
  await adopt(t, 1_000)
})
