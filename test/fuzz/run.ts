// `npm run fuzz -- [--minutes N] [--seed S] [kinds…]`: random cases of each kind for a share of the
// time. A case that shows a fault is shrunk, shown, and kept in seeds.json.
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import t from 'tap'

import { startPostgres } from '../support/services.ts'
import { search } from './fuzzer.ts'
import { kinds } from './kinds.ts'
import { keep } from './seeds.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { minutes: { type: 'string', default: '10' }, seed: { type: 'string' } }
})
const minutes = Number(values.minutes)
const seed = Number(values.seed ?? randomInt(2 ** 31))
const names = positionals.length === 0 ? Object.keys(kinds) : positionals
const unknown = names.filter(name => !(name in kinds))
if (!(minutes > 0) || !Number.isSafeInteger(seed) || unknown.length > 0)
  throw new Error(`usage: npm run fuzz -- [--minutes N] [--seed S] [${Object.keys(kinds).join(' | ')}]…`)

const server = process.env.TEST_DATABASE_URL === undefined ? await startPostgres() : undefined
if (server !== undefined) process.env.TEST_DATABASE_URL = server.url
t.teardown(() => server?.stop())
t.setTimeout(0)
for (const name of names) {
  await t.test(`${name}, seed ${seed}`, { timeout: 0 }, async t => {
    const fuzzer = await kinds[name]?.(t)
    if (fuzzer === undefined) return
    const { played, finding } = await search(fuzzer, seed, {
      timeMs: minutes * 60_000 / names.length
    })
    if (finding !== undefined) keep(name, finding)
    t.equal(finding, undefined, `${played} cases`)
  })
}
