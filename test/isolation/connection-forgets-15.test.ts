import t from 'tap'

import { noPgBouncer } from '../support/pgbouncer.ts'
import { startPostgresVersion } from '../support/services.ts'
import { assertForgets, prepareGround } from './traces/forgets.ts'

// The helpers make their databases on the server that the environment names.
const server = await startPostgresVersion(15)
process.env.TEST_DATABASE_URL = server.url
t.teardown(() => server.stop())

t.setTimeout(120_000)

t.test('PostgreSQL 15, plain contexts', async t => {
  const ground = await prepareGround(t, false)
  for (const reset of ['auto', 'always'] as const) {
    await t.test(`reset '${reset}': what one tenant leaves on a connection does not meet the next`, t =>
      assertForgets(t, ground, { reset }))
  }
  for (const pooled of [1, 4]) {
    await t.test(
      `nor through PgBouncer with ${pooled} backends`,
      { skip: noPgBouncer },
      t => assertForgets(t, ground, { reset: 'auto', pooled })
    )
  }
})
