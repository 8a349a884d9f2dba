// The logins of the global tables and of the registry, and one login for all uses.
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import { sql, type Kysely } from 'kysely'
import t, { type Test } from 'tap'

import { connect, databaseOf } from '../support/sql.ts'
import { build, dbOf, secret, tables, tenantOf, type Login } from './logins-fixture.ts'

/** Selects the rows of all tenants inside another query. */
function hidden (role: string): string {
  return `select 1 as id, 0 as parent from (select set_config('role', '${role}', true)) x,
    query_to_xml('select body from notes', true, true, '') y where y::text like '%hooli%'`
}

async function readHidden (t: Test, without: readonly Login[]): Promise<{ level: number; read: string }> {
  const on = await build(t, without)
  await on.admin(
    'create extension tablefunc schema public; grant execute on all functions in schema public to public'
  )
  const database = on.open()
  const { level } = await database.boot()
  const { system } = rolesOf(databaseOf(on.superUrl))
  const global = database.global as unknown as Kysely<{ people: { id: number; name: string } }>
  t.same(
    await global.selectFrom('people').select('name').execute(),
    [{ name: 'person:1' }],
    'the handle itself works'
  )
  // connectby() puts the table name, a text, into its own query. So the statement itself names no
  // forbidden table.
  const from = `(${hidden(system)}) hidden`
  const text =
    sql`select * from connectby(${from}, 'id', 'parent', '0', 0) as t(keyid int, parent int, level int)`
  const read = await text.execute(global).then(
    ({ rows }) => `${rows.length} rows`,
    (error: { code?: string }) => error.code ?? 'no code'
  )
  return { level, read }
}

t.test('CON-11 from level 2 the global login cannot become the role that reads all tenants', async t => {
  t.match(await readHidden(t, []), { level: 3, read: '42501' })
  const control = await readHidden(t, ['globalUrl'])
  t.not(control.read, '42501', 'control: the login of systemUrl becomes tenancy_system')
  t.equal(control.level, 1, 'which the boot does not call level 2')
})

t.test('CON-11 a login of the global tables that may become more is no level 2', async t => {
  const on = await build(t)
  const user = decodeURIComponent(new URL(on.login('globalUrl')).username)
  await on.admin(`grant "${rolesOf(databaseOf(on.superUrl)).system}" to "${user}"`)
  t.match(await on.open().boot(), {
    level: 1,
    reasons: [new RegExp(`the login '${user}' may become 'tenancy_system`)]
  })
  t.match((await on.manager.doctor()).findings.filter(({ id }) => id === 'D308').length, 1)
  await on.manager.init({ url: on.superUrl, tenantRoles: true })
  t.match(await on.open().boot(), { level: 3 }, 'init takes it away')
})

t.test('CON-11 a shard has no global tables and needs no login for them', async t => {
  const [on, eu] = [await build(t), await build(t)]
  const shards = {
    eu: {
      url: eu.login('url'),
      tenantRolesUrl: eu.login('tenantRolesUrl'),
      systemUrl: eu.login('systemUrl'),
      ownerUrl: eu.login('ownerUrl')
    }
  }
  t.match(await on.open([], { shards }).boot(), { level: 3 })
  const { tenantRolesUrl: _, ...eurl } = shards.eu
  t.match(await on.open([], { shards: { eu: eurl } }).boot(), {
    level: 2,
    reasons: [/^shard 'eu': .*tenantRolesUrl/]
  })
})

t.test("the look-ups of the registry are the registry login's alone, where there is one", async t => {
  const text = "select tenancy.tenant_by_slug('the-acme') as tenant"
  const asked = async (t: Test, url: string): Promise<unknown> =>
    (await connect(t, url)).query(text).then(
      ({ rows }) => (rows[0] as { tenant: string }).tenant.includes('acme'),
      (error: { code: string }) => error.code
    )
  const on = await build(t, ['registryUrl'])
  t.equal(await asked(t, on.login('url')), true)
  t.equal(await asked(t, on.login('tenantRolesUrl')), '42501')
  const after = on.managerOf([])
  await on.admin(
    `grant execute on function tenancy.tenant_by_slug(text) to "${
      decodeURIComponent(new URL(on.login('globalUrl')).username)
    }"; create role "leftover_${
      databaseOf(on.superUrl)
    }" nologin; grant execute on function tenancy.tenant_by_id(text) to "leftover_${databaseOf(on.superUrl)}"`
  )
  t.match((await after.doctor()).findings.filter(({ id }) => id === 'D421').map(({ object }) => object), [
    /tenant_by_domain/,
    /tenant_by_id/,
    /tenant_by_slug/
  ])
  await after.init({ url: on.superUrl, tenantRoles: true })
  t.same((await after.doctor()).findings.filter(({ id }) => id === 'D421'), [])
  for (const name of ['url', 'tenantRolesUrl', 'globalUrl', 'systemUrl'] as const)
    t.equal(await asked(t, on.login(name)), '42501', name)
  t.equal(await asked(t, on.login('registryUrl')), true)
  const { rows } = await on.admin(
    "select has_function_privilege($1, 'tenancy.tenant_by_id(text)', 'execute') as may",
    [`leftover_${databaseOf(on.superUrl)}`]
  )
  t.same(rows, [{ may: false }])
  await on.admin(
    `drop owned by "leftover_${databaseOf(on.superUrl)}"; drop role "leftover_${databaseOf(on.superUrl)}"`
  )
  t.match(await on.open([]).boot(), { level: 3 })
})

t.test('in development one URL serves for everything', async t => {
  const on = await build(t)
  const manager = createManager({
    rls: { secret },
    tables,
    database: on.superUrl,
    provision: async ({ client }) => {
      await client.query('create table notes (body text)')
    }
  })
  t.teardown(() => manager.close())
  await manager.init()
  await manager.create({ id: 'hooli', slug: 'the-hooli', isolation: 'schema' })
  const database = openDatabase(resolveDatabaseOptions({ rls: { secret }, tables, database: on.superUrl }))
  t.teardown(() => database.close())
  t.match(await database.boot(), { level: 0 })
  t.same(
    await dbOf(t, database, await tenantOf(manager, 'hooli')).selectFrom('notes').selectAll().execute(),
    []
  )
  t.equal(
    (await (database.global as unknown as Kysely<{ people: { id: number } }>).selectFrom('people').selectAll()
      .execute()).length,
    1
  )
  t.match(await on.open([], { globalUrl: on.login('url'), registryUrl: on.login('url') }).boot(), {
    level: 1,
    reasons: [/registryUrl/, /globalUrl/]
  }, 'the same user under another name is no login of its own')
})
