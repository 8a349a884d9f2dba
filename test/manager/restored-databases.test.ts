// Tenants' own databases that a superuser restored from a dump: `init` repairs them, or reports
// whose it cannot prove.
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { sql, type Kysely } from 'kysely'
import type { MigrationProvider } from 'kysely/migration'
import t, { type Test } from 'tap'

import { isLong } from '../support/long.ts'
import { startPostgresVersion } from '../support/services.ts'
import { databaseOf } from '../support/sql.ts'
import { managerFixture, fixtureOptions, unique, type ManagerFixture } from './manager-fixture.ts'
import { dump, named, noDump, onUrl, restore } from './restored-databases-fixture.ts'

const tables = { tenant: ['notes'], shared: ['countries'] }
const build = (isShared: boolean): string =>
  `create table notes (${isShared ? 'tenant_id text not null, ' : ''}id serial, body text, primary key (${
    isShared ? 'tenant_id, ' : ''
  }id))`
const tenant: MigrationProvider = {
  getMigrations: async () => ({
    '001': {
      up: async (db: Kysely<unknown>) => {
        await sql`create table marks (id serial primary key)`.execute(db)
      }
    }
  })
}

// pg_dump reads only servers of its own version and older.
const server = noDump === false ? await startPostgresVersion(15) : undefined
t.teardown(() => server?.stop())
if (server !== undefined) process.env.TEST_DATABASE_URL = server.url

/**
 * Two tenants with their own databases. The second has run no migration, so nothing in its database
 * names its tenant.
 */
async function world (
  t: Test
): Promise<{ on: ManagerFixture; ids: string[]; given: Parameters<typeof fixtureOptions>[1] }> {
  const given = { build, tables, more: { isolation: 'database' as const } }
  const on = await managerFixture(t, given)
  const ids = [unique(on, 'solo'), unique(on, 'bare')]
  await on.another({ migrations: { tenant } }).create({ id: ids[0]!, slug: 'solo' })
  await on.another().create({ id: ids[1]!, slug: 'bare' })
  for (const id of ids)
    await onUrl(
      named(on.superUrl, `tenant_${id}`),
      client => client.query('insert into notes (body) values ($1)', [`${id}:1`])
    )
  return { on, ids, given }
}

async function served (
  on: ManagerFixture,
  given: Parameters<typeof fixtureOptions>[1],
  id: string
): Promise<unknown> {
  const { database, rls = {} } = fixtureOptions(on.superUrl, given)
  const opened = openDatabase(resolveDatabaseOptions({ database, rls, tables }))
  try {
    await opened.boot()
    const record = await opened.registry.findById(id)
    if (record === undefined) throw new Error(`no tenant ${id}`)
    const scope = new TenantScope(record, { info () {}, warn () {}, error () {} })
    const db = opened.forScope(scope) as never as Kysely<unknown>
    await sql`insert into notes (body) values ('new')`.execute(db)
    const { rows } = await sql`select body from notes order by id`.execute(db)
    scope.abort()
    return rows
  } finally {
    await opened.close()
  }
}

for (const flags of [['--no-owner', '--no-privileges'], ...isLong ? [[]] : []]) {
  t.test(
    `DAT-02 strategy database: dumps ${flags.join(' ')} on a server without their roles`,
    {
      skip: noDump,
      buffered: true
    },
    async t => {
      const { on, ids, given } = await world(t)
      const urls = [on.superUrl, ...ids.map(id => named(on.superUrl, `tenant_${id}`))]
      const files = await Promise.all(urls.map(url => dump(url, ...flags)))
      await on.manager.close()
      const root = named(on.superUrl, 'postgres')
      const main = databaseOf(on.superUrl)
      await onUrl(root, async client => {
        for (const url of urls) await client.query(`drop database "${databaseOf(url)}" with (force)`)
        const { rows } = await client.query<{ rolname: string }>(
          "select rolname from pg_roles where rolname like '%\\_' || substr(md5($1), 1, 8) " +
            "or rolname like '%' || $1 || '%'",
          [main]
        )
        for (const { rolname } of rows) await client.query(`drop role "${rolname}"`)
        for (const url of urls) await client.query(`create database "${databaseOf(url)}"`)
      })
      for (const [index, url] of urls.entries()) await restore(files[index]!, url)

      const manager = on.another({ migrations: { tenant } })
      const { remarks } = await manager.init({ url: on.superUrl, tenantRoles: true })
      t.match(remarks.join('\n'), /1 tenants' own databases were repaired/)
      t.match(
        remarks.join('\n'),
        new RegExp(`database 'tenant_${ids[1]}' .* is not marked as this tenant's.*\`tenancy init\` again`)
      )
      t.same(await served(on, given, ids[0]!), [{ body: `${ids[0]}:1` }, { body: 'new' }])
      await t.rejects(served(on, given, ids[1]!), 'control: an unproven database is not opened')

      await onUrl(
        root,
        client =>
          client.query(`comment on database "tenant_${ids[1]}" is 'fastify-tenancy: tenant ${ids[1]}'`)
      )
      t.match(
        (await manager.init({ url: on.superUrl })).remarks,
        [/1 tenants' own databases/],
        'run again, it goes on'
      )
      t.same(await served(on, given, ids[1]!), [{ body: `${ids[1]}:1` }, { body: 'new' }])
      t.same((await manager.init({ url: on.superUrl })).remarks, [], 'and then finds nothing')

      const rights = await onUrl(urls[1]!, client =>
        client.query(
          "select (select count(*)::int from pg_class where relnamespace in ('public'::regnamespace, " +
            "'tenancy'::regnamespace) and relkind = 'r' and pg_get_userbyid(relowner) not like '%owner%') " +
            "as strange, has_database_privilege('public', current_database(), 'connect') as open"
        ))
      t.same(rights.rows, [{ strange: 0, open: false }])
      const later: MigrationProvider = {
        getMigrations: async () => ({
          ...await tenant.getMigrations(),
          '002': {
            up: async (db: Kysely<unknown>) =>
              void await sql`alter table marks add more int; create table later ()`.execute(db)
          }
        })
      }
      t.match(
        (await on.another({ migrations: { tenant: later } }).migrate({ only: { id: ids[0]! } })).tenants,
        { migrated: 1 }
      )
      t.same((await manager.doctor()).findings.filter(({ level }) => level === 'error'), [])
    }
  )
}

t.test("DAT-02 a database that is marked as another tenant's, or gone, is named and left alone", {
  buffered: true
}, async t => {
  const { on, ids } = await world(t)
  await onUrl(named(on.superUrl, 'postgres'), async client => {
    await client.query(
      `comment on database "tenant_${
        ids[0]
      }" is 'fastify-tenancy: tenant other'; grant connect on database "tenant_${ids[0]}" to public`
    )
    await client.query(`drop database "tenant_${ids[1]}" with (force)`)
  })
  const { remarks } = await on.manager.init({ url: on.superUrl })
  t.match(remarks, [new RegExp(`database 'tenant_${ids[0]}' .* is not marked as this tenant's`)])
  t.equal(remarks.length, 1, "what is gone is the doctor's to say")
  t.same(
    await on.admin("select has_database_privilege('public', $1, 'connect') as open", [`tenant_${ids[0]}`]),
    [{ open: true }]
  )
})
