// The adoption of an application of ten tables with 50,000 rows: see adoption.test.ts.
import t from 'tap'

import { adopt } from './ten-tables-fixture.ts'

t.test('DAT-14 50,000 rows of ten tables get their tenants while old code works on them', async t => {
  await adopt(t, 50_000)
})
