// `npm run fuzz [queries] [seed]`: many random queries against forced policies, on a server of its
// own or that of TEST_DATABASE_URL.
import { randomBytes, randomInt } from 'node:crypto'
import pg from 'pg'

import { startPostgres } from '../../support/services.ts'
import { Judge } from './judge.ts'

const queries = Number(process.argv[2] ?? 100_000)
const start = Number(process.argv[3] ?? randomInt(2 ** 31))
const server = process.env.TEST_DATABASE_URL === undefined ? await startPostgres() : undefined
const url = new URL(process.env.TEST_DATABASE_URL ?? server?.url ?? '')
const name = `fuzz_${randomBytes(4).toString('hex')}`
const admin = new pg.Client({ connectionString: url.href })
await admin.connect()
await admin.query(`create database ${name}`)
const client = new pg.Client({ connectionString: Object.assign(new URL(url), { pathname: `/${name}` }).href })
await client.connect()
const judge = await Judge.on(client, `role_${name}`)

console.log(`${queries} queries from seed ${start}`)
let problems = 0
let failed = 0
for (let index = 0; index < queries; index++) {
  const { problem, hasFailed } = await judge.verdict(start + index)
  if (hasFailed) failed++
  if (problem !== undefined) {
    problems++
    console.log(`seed ${start + index}: ${problem}`)
  }
  if ((index + 1) % 10_000 === 0)
    console.log(
      `${
        index + 1
      } done, ${problems} problems, ${failed} failed under policies too, ${judge.used.size} constructs`
    )
}

await client.end()
await admin.query(`drop database ${name} with (force)`)
await admin.query(`drop role role_${name}`)
await admin.end()
await server?.stop()
console.log(`${queries} queries, ${problems} problems`)
process.exitCode = problems === 0 ? 0 : 1
