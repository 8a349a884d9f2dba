// The example drizzle: the tests that it shows its readers, on PostgreSQL.
import t from 'tap'

import { runExample } from '../support/example.ts'
import { freshDatabase } from '../support/fresh.ts'

t.test('Drizzle reads and writes for the tenant of the request', { timeout: 120_000 }, async t => {
  await runExample(t, 'drizzle', 'drizzle.test.ts', { DATABASE_URL: await freshDatabase(t) })
})
