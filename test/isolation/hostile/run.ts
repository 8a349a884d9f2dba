// `npm run fuzz:connections [cases] [seed]`: random code of the application before a next tenant,
// direct and through PgBouncer.
import fc from 'fast-check'
import { randomInt } from 'node:crypto'
import t from 'tap'

import { noPgBouncer, pgBouncer } from '../../support/pgbouncer.ts'
import { startPostgresVersion, type Service } from '../../support/services.ts'
import { cases, Ground } from './ground.ts'

const total = Number(process.argv[2] ?? 10_000)
const first = Number(process.argv[3] ?? randomInt(2 ** 31))
const versions = [18, 15] as const
const sizes = noPgBouncer === false ? [undefined, 1, 4] : [undefined]
const share = Math.ceil(total / (versions.length * sizes.length * 2))
// A failure is replayed with its seed.
console.log(`${total} cases from seed ${first}`)

t.setTimeout(0)
for (const version of versions) {
  const server: Service = await startPostgresVersion(version)
  process.env.TEST_DATABASE_URL = server.url
  for (const reset of ['auto', 'always'] as const) {
    for (const size of sizes) {
      const place = size === undefined ? 'direct' : `through PgBouncer with ${size} backends`
      await t.test(`PostgreSQL ${version}, reset '${reset}', ${place}`, { timeout: 3_600_000 }, async t => {
        const ground = await Ground.prepare(
          t,
          { reset },
          async url => size === undefined ? url : pgBouncer(t, url, 'transaction', { size })
        )
        await fc.assert(fc.asyncProperty(cases, one => ground.play(one)), { numRuns: share, seed: first })
        t.pass(`${ground.count} cases`)
      })
    }
  }
  await server.stop()
}
