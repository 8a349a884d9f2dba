import t from 'tap'

import { noPgBouncer } from '../support/pgbouncer.ts'
import { startPostgresVersion } from '../support/services.ts'
import { assertForgets, prepareGround } from './traces/forgets.ts'

// The helpers make their databases on the server that the environment names.
const server = await startPostgresVersion(15)
process.env.TEST_DATABASE_URL = server.url
t.teardown(() => server.stop())

t.setTimeout(120_000)

// With reset 'always', and through four backends: in the long form.
t.test('PostgreSQL 15, plain contexts', async t => {
  const ground = await prepareGround(t, false)
  await t.test("reset 'auto': what one tenant leaves on a connection does not meet the next", t =>
    assertForgets(t, ground, { reset: 'auto' }))
  await t.test(
    'nor through PgBouncer with one backend',
    { skip: noPgBouncer },
    t => assertForgets(t, ground, { reset: 'auto', pooled: 1 })
  )
})
