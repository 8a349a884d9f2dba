// The adoption of an application of ten tables, at work all the while; adoption.long.test.ts does it with 50,000 rows.
import t from 'tap'

import { adopt } from './adoption-world.ts'

t.test('DAT-14 an application of ten tables is taken over: no failed statement, no wrong tenant, one question', async t => {
  await adopt(t, 1_000)
})
