// The example mixed: the tests that it shows its readers, on PostgreSQL.
import t from 'tap'

import { runExample } from '../support/example.ts'
import { freshDatabase } from '../support/fresh.ts'

t.test('four strategies in one application, and tenants that are moved', { timeout: 180_000 }, async t => {
  await runExample(t, 'mixed', 'mixed.test.ts', { DATABASE_URL: await freshDatabase(t) })
})
