// Databases that were restored from a dump, copied or renamed: `init` repairs them and the
// application boots. See docs/restored-databases.md.
import { createManager } from '@fastify-tenancy/manager'
import t from 'tap'

import { serverUrl } from '../support/fresh.ts'
import { startPostgresVersion } from '../support/services.ts'
import { databaseOf } from '../support/sql.ts'
import { all, copiedAndRenamed, drop, dump, empty, named, noDump, onUrl, optionsOf, restore, served,
  world } from './restored-databases-fixture.ts'

t.test('DAT-02 setting: a database that was copied as a template, and one that was renamed', {
  buffered: true
}, t => copiedAndRenamed(t, 'setting'))

t.test('DAT-02 a dump by pg_dump, 15 to 18, a server that has no roles of it, psql', {
  skip: noDump,
  buffered: true
}, async t => {
  const old = await startPostgresVersion(15)
  t.teardown(() => old.stop())
  const source = await empty(t, old.url)
  t.ok(await world(t, source))
  const name = databaseOf(source)
  const url = named(serverUrl(), name)
  await onUrl(serverUrl(), client => client.query(`create database ${name}`))
  drop(t, serverUrl(), name)
  await restore(await dump(source), url)
  const moved = optionsOf(url, source, 'setting')
  const manager = createManager(moved)
  await manager.init({ url, tenantRoles: true }).finally(() => manager.close())
  t.same(await served(moved), all)
})
