// Which database and which Redis a command works on: only those that its flags name.
import { createManager } from '@fastify-tenancy/manager'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'
import { folder, run } from './command.ts'

const configured = await freshDatabase(t)
const named = await freshDatabase(t)
// No server listens on this port, so a command that opens one of these URLs fails.
const nowhere = 'postgres://app:hunter2@127.0.0.1:1/nowhere'

// Every URL of the file leads elsewhere. The manager's part overrides the application's, so it is
// tested too.
const elsewhere = {
  url: configured,
  ownerUrl: nowhere,
  registryUrl: nowhere,
  systemUrl: nowhere,
  shards: { eu: nowhere },
  tenants: { url: 'postgres://{database}:secret@127.0.0.1:1/{database}' }
}
const files = {
  "the application's part": { database: elsewhere, redis: 'redis://127.0.0.1:1', tables: { tenant: 'auto' } },
  "the manager's part": {
    database: nowhere,
    tables: { tenant: 'auto' },
    manager: { database: elsewhere, redis: 'redis://127.0.0.1:1' }
  }
}

for (const [name, config] of Object.entries(files)) {
  t.test(`DAT-12 --database-url overrides ${name} of the configuration`, async t => {
    const cwd = folder(t, { 'tenancy.config.json': JSON.stringify(config) })
    const onNamed = (...argv: string[]): ReturnType<typeof run> => run(cwd, ...argv, '--database-url', named)
    const slug = name.includes('manager') ? 'globex' : 'acme'
    t.match(await onNamed('init'), {
      code: 0,
      stdout: /initialised/,
      stderr: /the Redis of the configuration is not used/
    })
    t.match(await onNamed('create', slug), { code: 0 })
    t.match(await onNamed('suspend', slug), { code: 0, stdout: /suspended/ })
    t.match(JSON.parse((await onNamed('doctor', '--json')).stdout), { findings: { length: 0 } })
    t.match(await onNamed('list'), { code: 0 })
    t.match(await onNamed('delete', slug, '--yes'), { code: 0 })
    t.match(await onNamed('purge', slug, '--yes'), { code: 0 })
    const admin = await connect(t, configured)
    const { rows } = await admin.query('select from pg_namespace where nspname = $1', ['tenancy'])
    t.equal(rows.length, 0, 'the configured database is untouched')
  })
}

t.test('DAT-12 a tenant outside the database of the flag is refused', async t => {
  const url = await freshDatabase(t)
  const manager = createManager({ database: url, tables: { tenant: 'auto' } })
  t.teardown(() => manager.close())
  await manager.init()
  await manager.create({ slug: 'near' })
  await manager.create({ slug: 'far' })
  await manager.create({ slug: 'apart' })
  const admin = await connect(t, url)
  await admin.query("update tenancy.tenants set shard = 'eu' where slug = 'far'")
  await admin.query(
    "update tenancy.tenants set isolation = 'database', database_name = $1 where slug = 'apart'",
    [nowhere]
  )
  const cwd = folder(t, {
    'tenancy.config.json': JSON.stringify({ database: { url: nowhere, shards: { eu: configured } } })
  })
  for (const slug of ['far', 'apart']) {
    for (const argv of [['suspend', slug], ['export', slug, '--to', 'out'], ['delete', slug, '--yes']]) {
      t.match(await run(cwd, ...argv, '--database-url', url), { code: /[12]/, stdout: '' }, argv.join(' '))
    }
    t.equal((await manager.get({ slug }))?.status, 'active', slug)
  }
  t.match(await run(cwd, 'suspend', 'near', '--database-url', url), { code: 0 })
})

t.test('DAT-12 --database-url is refused with a database per tenant', async t => {
  const cwd = folder(t, {
    'tenancy.config.json': JSON.stringify({ database: elsewhere, isolation: 'database' })
  })
  t.match(await run(cwd, 'list', '--database-url', named), {
    code: 2,
    stderr: /name a configuration with --config/
  })
})

t.test('DAT-12 init and protect refuse a --login to another database', async t => {
  const url = await freshDatabase(t)
  const other = await freshDatabase(t)
  const unborn = new URL(url)
  unborn.username = `unborn_${Date.now()}`
  for (const configuredUrl of [url, unborn.href]) {
    const cwd = folder(t, {
      'tenancy.config.json': JSON.stringify({ database: configuredUrl, tables: { tenant: [] } })
    })
    for (const command of ['init', 'protect']) {
      t.match(await run(cwd, command, '--login', other), {
        code: 2,
        stdout: '',
        stderr: /another|shard 'default' is database/
      }, command)
    }
    const admin = await connect(t, other)
    t.equal((await admin.query("select from pg_namespace where nspname = 'tenancy'")).rows.length, 0)
  }
  const cwd = folder(t, { 'tenancy.config.json': JSON.stringify({ database: url }) })
  t.match(await run(cwd, 'init', '--login', url), { code: 0 }, 'control: the same database is served')
})
