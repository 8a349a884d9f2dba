// Databases that were restored from a dump, copied or renamed: the slow variants.
import { createManager } from '@fastify-tenancy/manager'
import { join } from 'node:path'
import t from 'tap'

import { startPostgresVersion, temporaryFolder } from '../support/services.ts'
import { databaseOf } from '../support/sql.ts'
import { all, another, copiedAndRenamed, dump, empty, named, noDump, onUrl, optionsOf, repaired, restore, run,
  served, world } from './restored-databases-fixture.ts'

t.test(
  'DAT-02 role: a database that was copied as a template, and one that was renamed',
  { buffered: true },
  t => copiedAndRenamed(t, 'role')
)

t.test('DAT-02 dumps by pg_dump', { skip: noDump, buffered: true }, async t => {
  const [old, fresh] = await Promise.all([startPostgresVersion(15), startPostgresVersion(18)])
  t.teardown(() => Promise.all([old.stop(), fresh.stop()]))
  const folder = temporaryFolder()
  const source = await empty(t, old.url)
  t.ok(await world(t, source))

  await t.test('another name on the same server', async t => {
    const url = await empty(t, old.url)
    await restore(await dump(source), url)
    await repaired(t, optionsOf(url, source, 'setting'), url, /belongs to tenancy_owner_/)
  })
  await t.test('without owners and privileges', async t => {
    const url = await empty(t, old.url)
    await restore(await dump(source, '--no-owner', '--no-privileges'), url)
    await repaired(t, optionsOf(url, source, 'setting'), url, /restored without their owner/)
  })
  await t.test('15 to 18 with the roles, by pg_dumpall and pg_restore', async t => {
    const roles = join(folder, 'roles.sql')
    await run('pg_dumpall', ['--roles-only', '--file', roles, '--dbname', old.url])
    await restore(roles, fresh.url)
    const file = await dump(source, '--format', 'custom')
    const same = named(fresh.url, databaseOf(source))
    await onUrl(fresh.url, client => client.query(`create database ${databaseOf(source)}`))
    // Pg_restore counts the errors that it ignored.
    await run('pg_restore', ['--dbname', same, file]).catch(() => {})
    const options = optionsOf(same, source, 'setting')
    const manager = createManager(options)
    await manager.init({ url: same, tenantRoles: true }).finally(() => manager.close())
    t.same(await served(options), all, 'the same name')
    const other = another()
    await onUrl(fresh.url, client => client.query(`create database ${other}`))
    await run('pg_restore', ['--dbname', named(fresh.url, other), file]).catch(() => {})
    await repaired(
      t,
      optionsOf(named(fresh.url, other), source, 'setting'),
      named(fresh.url, other),
      /belongs to tenancy_owner_/
    )
  })
})
