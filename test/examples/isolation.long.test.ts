// Each example passes the isolation kit, as its readers run it.
import t from 'tap'

import { runExample } from '../support/example.ts'
import { freshDatabase } from '../support/fresh.ts'

for (const example of ['saas']) {
  t.test(`ISO-KIT the example ${example} keeps its tenants apart`, { timeout: 300_000 }, async t => {
    const output = await runExample(t, example, 'isolation.test.ts', { DATABASE_URL: await freshDatabase(t) })
    t.match(output, /0 leaks, 0 not tried, of \d+ routes/)
  })
}
