// Each effect in each position before each observable, with both versions, contexts and values of
// `reset`.
import t from 'tap'

import { noPgBouncer } from '../support/pgbouncer.ts'
import { startPostgresVersion } from '../support/services.ts'
import { assertForgets, prepareGround } from './traces/forgets.ts'

t.setTimeout(1_800_000)

for (const version of [18, 15] as const) {
  t.test(`PostgreSQL ${version}`, async t => {
    const server = await startPostgresVersion(version)
    process.env.TEST_DATABASE_URL = server.url
    t.teardown(() => server.stop())
    for (const secret of [undefined, false] as const) {
      await t.test(secret === false ? 'plain contexts' : 'signed contexts', async t => {
        const ground = await prepareGround(t, secret)
        for (const reset of ['auto', 'always'] as const) {
          await t.test(`reset '${reset}'`, t => assertForgets(t, ground, { reset, isLong: true }))
          for (const pooled of [1, 4]) {
            await t.test(
              `reset '${reset}', PgBouncer with ${pooled} backends`,
              { skip: noPgBouncer },
              t => assertForgets(t, ground, { reset, pooled, isLong: true })
            )
          }
        }
      })
    }
  })
}
