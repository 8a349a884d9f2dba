// `npm run fuzz -- [--minutes N] [--seed S] [--postgres 18,15] [kinds…]`: random cases of each kind on
// each PostgreSQL, for a share of the time. A case that shows a fault is shrunk, shown, and kept in
// seeds.json.
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import t from 'tap'

import { isPostgresVersion, postgresVersions } from '../support/embedded-postgres.ts'
import { startPostgresVersion } from '../support/services.ts'
import { search } from './fuzzer.ts'
import { kinds } from './kinds.ts'
import { keep } from './seeds.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string' },
    postgres: { type: 'string', default: '18,15' }
  }
})
const minutes = Number(values.minutes)
const seed = Number(values.seed ?? randomInt(2 ** 31))
const names = positionals.length === 0 ? Object.keys(kinds) : positionals
const versions = values.postgres.split(',').map(Number)
if (
  !(minutes > 0) || !Number.isSafeInteger(seed) || !names.every(name => Object.hasOwn(kinds, name)) ||
  !versions.every(isPostgresVersion)
)
  throw new Error(
    `usage: npm run fuzz -- [--minutes N] [--seed S] [--postgres ${postgresVersions.join(',')}] ` +
      `[${Object.keys(kinds).join(' | ')}]…`
  )

const timeMs = minutes * 60_000 / names.length / versions.length
t.setTimeout(0)
for (const version of versions.filter(isPostgresVersion)) {
  const server = await startPostgresVersion(version)
  process.env.TEST_DATABASE_URL = server.url
  for (const name of names) {
    await t.test(`PostgreSQL ${version}, ${name}, seed ${seed}`, { timeout: 0 }, async t => {
      const fuzzer = await kinds[name]?.(t)
      if (fuzzer === undefined) throw new Error(`there is no fuzzer '${name}'`)
      const { played, finding } = await search(fuzzer, seed, { timeMs })
      if (finding !== undefined) keep(name, finding)
      t.equal(finding, undefined, `${played} cases`)
    })
  }
  await server.stop()
}
