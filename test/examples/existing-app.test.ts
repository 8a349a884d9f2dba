// The example existing-app: the tests that it shows its readers.
import t from 'tap'

import { runExample } from '../support/example.ts'
import { freshDatabase } from '../support/fresh.ts'
import { loginUrl } from '../support/urls.ts'

t.test('an existing application is adopted step by step', { timeout: 120_000 }, async t => {
  const DATABASE_URL = await freshDatabase(t)
  const env = { DATABASE_URL, OLD_URL: loginUrl(DATABASE_URL, 'old'), APP_URL: loginUrl(DATABASE_URL, 'app') }
  await runExample(t, 'existing-app', 'adoption.test.ts', env)
})
