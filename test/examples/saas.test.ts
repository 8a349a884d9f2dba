// The example saas: the tests that it shows its readers, on PostgreSQL.
import t from 'tap'

import { runExample } from '../support/example.ts'
import { freshDatabase } from '../support/fresh.ts'

t.test('a customer signs up, invites, upgrades and gets a domain', { timeout: 120_000 }, async t => {
  await runExample(t, 'saas', 'saas.test.ts', { DATABASE_URL: await freshDatabase(t) })
})
