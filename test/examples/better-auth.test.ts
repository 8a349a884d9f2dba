// The example better-auth: the tests that it shows its readers, on PostgreSQL.
import t from 'tap'

import { runExample } from '../support/example.ts'
import { freshDatabase } from '../support/fresh.ts'

t.test('organizations of better-auth are tenants', { timeout: 120_000 }, async t => {
  await runExample(t, 'better-auth', 'better-auth.test.ts', { DATABASE_URL: await freshDatabase(t) })
})
