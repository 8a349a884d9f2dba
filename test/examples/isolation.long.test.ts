// Each example passes the isolation kit, as its readers run it.
import t from 'tap'

import { runExample } from '../support/example.ts'
import { freshDatabase } from '../support/fresh.ts'
import { loginUrl } from '../support/urls.ts'

for (const example of ['saas', 'jobs', 'mixed', 'existing-app', 'drizzle', 'better-auth']) {
  t.test(`ISO-KIT the example ${example} keeps its tenants apart`, { timeout: 300_000 }, async t => {
    const DATABASE_URL = await freshDatabase(t)
    // Only existing-app reads the other two.
    const env = {
      DATABASE_URL,
      OLD_URL: loginUrl(DATABASE_URL, 'old'),
      APP_URL: loginUrl(DATABASE_URL, 'app')
    }
    const output = await runExample(t, example, 'isolation.test.ts', env)
    t.match(output, /0 leaks, 0 not tried, of \d+ routes/)
  })
}
