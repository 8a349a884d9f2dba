// One of two shards is down: operations on the other shard succeed, and errors name the shard that
// is down.
import { createManager, MigrationFailedError } from '@fastify-tenancy/manager'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'

import { folder, run } from '../cli/command.ts'
import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'

const nowhere = 'postgres://owner:hunter2@127.0.0.1:1/app'
const unreachable = /shard 'eu', database 'app' on 127\.0\.0\.1:1 cannot be reached as login 'owner'/

const url = await freshDatabase(t)
const sets = mkdtempSync(join(tmpdir(), 'tenancy-shard-down-'))
t.teardown(() => {
  rmSync(sets, { recursive: true, force: true })
})
writeFileSync(
  join(sets, '1_notes.mjs'),
  `export async function up (db) {
  await db.schema.createTable('notes').addColumn('tenant_id', 'text', c => c.notNull())
    .addColumn('id', 'int4').execute()
}`
)
const config = {
  database: { url, shards: { eu: nowhere } },
  tables: { tenant: ['notes'] },
  manager: { migrations: { shared: sets, tenant: sets } }
}

const setup = createManager({ database: url, tables: { tenant: 'auto' } })
t.teardown(() => setup.close())
await setup.init()
await setup.create({ slug: 'here', isolation: 'schema' })
await setup.create({ slug: 'there', isolation: 'schema' })
const admin = await connect(t, url)
await admin.query("update tenancy.tenants set shard = 'eu' where slug = 'there'")
const cwd = folder(t, { 'tenancy.config.json': JSON.stringify(config) })

t.test('DAT-16 status reports the shard that answers and names the one that does not', async t => {
  const { code, stdout, stderr } = await run(cwd, 'status')
  t.equal(code, 1)
  t.match(stdout, /shard default/)
  t.match(stdout, /^here /m)
  t.notMatch(stdout, /^there /m)
  t.match(stderr, unreachable)
  t.match(stderr, /1 tenants there were not looked at/)
  t.notMatch(stdout + stderr, /hunter2/)
  t.match(JSON.parse((await run(cwd, 'status', '--json')).stdout), {
    unreachable: [{ shard: 'eu', tenants: 1 }]
  })
})

t.test('DAT-16 migrate brings up the shard that answers, and fails for the one that does not', async t => {
  for (const flag of ['--dry-run', '--check'])
    t.match(await run(cwd, 'migrate', flag), { code: 1, stderr: unreachable }, flag)
  const { code, stdout, stderr } = await run(cwd, 'migrate')
  t.equal(code, 1)
  t.match(stdout, /shared tables of shard default: 1_notes/)
  t.match(stdout, /1 migrated/)
  t.match(stdout, /1 left/)
  t.match(stderr, unreachable)
  const manager = createManager({
    ...config.manager,
    database: config.database,
    tables: { tenant: ['notes'] }
  })
  t.teardown(() => manager.close())
  const error = await manager.migrate().then(() => undefined, (error: unknown) => error)
  t.ok(error instanceof MigrationFailedError)
  t.match(error, { report: { failures: [{ shard: 'eu' }], tenants: { current: 1, left: 1 } } })
})

t.test('DAT-16 the doctor examines the shard that answers, and finds the other one unreachable', async t => {
  const { code, stdout } = await run(cwd, 'doctor', '--json')
  t.equal(code, 1)
  const { findings, level } = JSON.parse(stdout) as {
    findings: { id: string; object: string; meaning: string }[]
    level: number
  }
  t.match(findings.filter(({ id }) => id === 'D690'), [{ object: 'shard eu', meaning: unreachable }])
  t.ok(findings.some(({ id }) => id === 'D301'), 'findings of the other shard are there')
  t.equal(level, 0, 'no level is claimed for a shard that was not examined')
})

t.test('DAT-16 a command that needs the registry names it when it is down', async t => {
  const away = folder(t, { 'tenancy.config.json': JSON.stringify({ ...config, database: nowhere }) })
  for (
    const command of [['list'], ['status'], ['doctor'], ['init'], ['create', 'acme'], ['suspend', 'acme']]
  ) {
    const { code, stdout, stderr } = await run(away, ...command)
    t.match({ code, stdout }, { code: 1, stdout: '' }, command.join(' '))
    t.match(
      stderr,
      /shard 'default', database 'app' on 127\.0\.0\.1:1 cannot be reached as login 'owner'/,
      command.join(' ')
    )
  }
})
