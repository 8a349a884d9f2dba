// What each login may become, and so what SQL that is injected into its statements may become.
import { openDatabase, resolveDatabaseOptions, rolesOf, type LevelReport, type TenancyDatabase } from '@fastify-tenancy/database'
import { TenantScope, tenantRole, type TenantRecord } from '@fastify-tenancy/core'
import { createManager, type Manager, type ManagerOptions } from '@fastify-tenancy/manager'
import { sql, type Kysely } from 'kysely'
import type pg from 'pg'
import t, { type Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, databaseOf, loginUrl } from '../support/sql.ts'

const secret = 'a secret of the tests, 32 characters and more'
const tables = { tenant: ['notes'], global: ['people'] }

type Login = 'tenantRolesUrl' | 'globalUrl' | 'registryUrl'

interface Built {
  readonly superUrl: string
  readonly manager: Manager
  admin (text: string, values?: unknown[]): Promise<pg.QueryResult>
  login (name: Login | 'url' | 'systemUrl' | 'ownerUrl'): string
  /** The same database with other logins. */
  managerOf (without: readonly Login[]): Manager
  open (without?: readonly Login[], more?: object): TenancyDatabase
}

/** A database with acme (signed rls) and globex (a schema), set up for all logins but those of `without`. */
async function build (t: Test, without: readonly Login[] = [], rls: object = {}): Promise<Built> {
  const superUrl = await freshDatabase(t)
  const admin = await connect(t, superUrl)
  await admin.query('create table notes (tenant_id text not null, body text); create table people (id int primary key, name text)')
  const login: Built['login'] = name => loginUrl(superUrl, name.replace('Url', '').toLowerCase())
  const optionsOf = (without: readonly Login[]): ManagerOptions => {
    const optional = (['tenantRolesUrl', 'globalUrl', 'registryUrl'] as const).filter(name => !without.includes(name))
    const urls = Object.fromEntries(optional.map(name => [name, login(name)]))
    return { rls: { secret, ...rls }, tables, database: { url: login('url'), systemUrl: login('systemUrl'), ownerUrl: login('ownerUrl'), ...urls } }
  }
  const managerOf = (without: readonly Login[]): Manager => {
    const manager = createManager({ ...optionsOf(without), provision: async ({ client }) => { await client.query('create table notes (body text)') } })
    t.teardown(() => manager.close())
    return manager
  }
  const manager = managerOf(without)
  await manager.init({ url: superUrl, tenantRoles: true })
  await manager.protect({ url: superUrl })
  await manager.create({ id: 'acme', slug: 'the-acme', isolation: 'rls' })
  await manager.create({ id: 'globex', slug: 'the-globex', isolation: 'schema' })
  await admin.query('insert into tenant_globex.notes values (\'globex:1\'); insert into people values (1, \'person:1\'); insert into notes values (\'acme\', \'acme:1\'), (\'hooli\', \'hooli:1\')')
  return {
    superUrl,
    manager,
    admin: (text, values) => admin.query(text, values),
    login,
    managerOf,
    open: (opened = without, more = {}) => {
      const options = optionsOf(opened)
      const database = openDatabase(resolveDatabaseOptions({ ...options, database: { ...options.database as object, ...more } }))
      t.teardown(() => database.close())
      return database
    }
  }
}

function dbOf (t: Test, database: TenancyDatabase, tenant: TenantRecord): Kysely<{ notes: { body: string } }> {
  const scope = new TenantScope(tenant, { info () {}, warn () {}, error () {} })
  t.teardown(() => scope.abort())
  return database.forScope(scope) as unknown as Kysely<{ notes: { body: string } }>
}

async function tenantOf (manager: Manager, id: string): Promise<TenantRecord> {
  const tenant = await manager.get({ id })
  if (tenant === undefined) throw new Error(`there is no tenant ${id}`)
  return tenant
}

/** Each of these, as a statement of acme's, asks for what the role of another tenant may read. */
function attacks (role: string): Readonly<Record<string, string>> {
  const read = 'select body from tenant_globex.notes'
  return {
    'in one statement': `select set_config('role', '${role}', true), query_to_xml('${read}', true, true, '')::text as found`,
    'in a lateral join': `select found.* from (select set_config('role', '${role}', true) as taken offset 0) step cross join lateral (select query_to_xml('${read} where ''' || step.taken || ''' <> ''''', true, true, '')::text as found) found`,
    'by a function of the application': `select public.run('set local role "${role}"', '${read}') as found`,
    'by session authorization': `select public.run('set local session authorization "${role}"', '${read}') as found`
  }
}

const runner = `create function public.run(first text, then_read text) returns text language plpgsql as
  $$ declare found text; begin execute first; execute then_read into found; return found; end $$`

async function attack (database: Kysely<never>, text: string): Promise<string> {
  return sql<{ found: string }>`${sql.raw(text)}`.execute(database).then(({ rows }) => JSON.stringify(rows), (error: { code?: string }) => error.code ?? 'no code')
}

t.test('CON-09 SQL injected into a statement of signed rls takes no role of a tenant with a schema at level 3', async t => {
  const on = await build(t)
  await on.admin(runner)
  const database = on.open()
  const report = await database.boot()
  t.match(report, { level: 3 })
  const [acme, globex] = [await tenantOf(on.manager, 'acme'), await tenantOf(on.manager, 'globex')]
  t.same(await dbOf(t, database, globex).selectFrom('notes').selectAll().execute(), [{ body: 'globex:1' }], 'the tenant itself is served')
  const role = tenantRole('globex', databaseOf(on.superUrl))
  for (const [name, text] of Object.entries(attacks(role))) t.equal(await attack(dbOf(t, database, acme) as never, text), '42501', name)
  await t.rejects(dbOf(t, database, acme).transaction().execute(async trx => {
    await sql`select set_config('role', ${role}, true)`.execute(trx)
  }), { code: '42501' }, 'in a transaction')
  t.match(await attack(dbOf(t, database, globex) as never, `select set_config('role', '${rolesOf(databaseOf(on.superUrl)).app}', true), query_to_xml('select body from public.notes', true, true, '')::text as found`), /^(?:42501|TN401)$/, 'nor the other way round')
  t.equal((await on.manager.doctor()).level, 3)
})

t.test('CON-09 control: on one login the same reads the schema, and neither the boot nor the doctor says level 3', async t => {
  const on = await build(t, ['tenantRolesUrl'])
  await on.admin(runner)
  const database = on.open()
  const report = await database.boot()
  t.match(report, { level: 2, reasons: [/tenantRolesUrl/] })
  t.match(await on.manager.doctor(), { level: 2, reasons: [/tenantRolesUrl/] })
  const role = tenantRole('globex', databaseOf(on.superUrl))
  for (const [name, text] of Object.entries(attacks(role))) {
    if (name !== 'by session authorization') t.match(await attack(dbOf(t, database, await tenantOf(on.manager, 'acme')) as never, text), /globex:1/, name)
  }
  await t.rejects(on.open(['tenantRolesUrl'], { requireLevel: 3 }).boot(), { code: 'FST_TENANCY_SETUP_INVALID', message: /tenantRolesUrl/ })
})

t.test('CON-09 init hands the roles of tenants over to the login of tenantRolesUrl, and back', async t => {
  const on = await build(t, ['tenantRolesUrl'])
  const [role, app] = [tenantRole('globex', databaseOf(on.superUrl)), decodeURIComponent(new URL(on.login('url')).username)]
  const may = async (login: string): Promise<boolean> => {
    const { rows } = await on.admin('select pg_has_role($1, $2, case when current_setting(\'server_version_num\')::int >= 160000 then \'SET\' else \'MEMBER\' end) as may', [login, role])
    return (rows[0] as { may: boolean }).may
  }
  t.ok(await may(app))
  await t.rejects(on.open([]).boot(), { message: /role "login_tenantroles_\w+" does not exist|password authentication failed/ }, 'there is no such login yet')
  const { username, password } = new URL(on.login('tenantRolesUrl'))
  await on.admin(`create role "${username}" login noinherit password '${decodeURIComponent(password)}'`)
  await t.rejects(on.open([]).boot(), { code: 'FST_TENANCY_SETUP_INVALID', message: /tenantRolesUrl may not become the roles of tenants: run `tenancy init`/ })
  const after = on.managerOf([])
  t.same((await after.init({ url: on.superUrl, tenantRoles: true })).remarks, [])
  const database = on.open([])
  t.match(await database.boot(), { level: 3 })
  t.notOk(await may(app))
  const globex = await tenantOf(on.manager, 'globex')
  t.same(await dbOf(t, database, globex).selectFrom('notes').selectAll().execute(), [{ body: 'globex:1' }])
  await after.create({ id: 'stark', slug: 'the-stark', isolation: 'schema' })
  t.same(await dbOf(t, database, await tenantOf(after, 'stark')).selectFrom('notes').selectAll().execute(), [], 'and so is one that is made now')
  t.match(await database.boot(), { level: 3 })

  await on.admin(`grant "${role}" to "${app}"`)
  const again = on.open([])
  t.match(await again.boot(), { level: 2, reasons: [/may still become the roles of 1 tenants: run `tenancy init`/] })
  t.match((await after.doctor()).findings.find(({ id }) => id === 'D313'), { level: 'error', fix: /^revoke / })
  await on.admin((await after.doctor()).findings.find(({ id }) => id === 'D313')?.fix ?? '')
  t.notOk(await may(app), 'the fix of the doctor mends it')

  t.same((await on.manager.init({ url: on.superUrl, tenantRoles: true })).remarks, [])
  t.ok(await may(app), 'without tenantRolesUrl one login serves for all')
})

t.test('CON-09 with a role per tenant the login of url takes none of them', async t => {
  for (const without of [[], ['tenantRolesUrl']] as const) {
    const on = await build(t, without, { context: 'role' })
    const database = on.open()
    const report: LevelReport = await database.boot()
    t.equal(report.level, without.length === 0 ? 3 : 2)
    const acme = dbOf(t, database, await tenantOf(on.manager, 'acme'))
    t.same(await acme.selectFrom('notes').select('body').execute(), [{ body: 'acme:1' }])
    await acme.transaction().execute(async trx => { t.same(await trx.selectFrom('notes').select('body').execute(), [{ body: 'acme:1' }]) })
  }
})

/** Asks for the rows of all tenants, in the middle of another query. */
function hidden (role: string): string {
  return `select 1 as id, 0 as parent from (select set_config('role', '${role}', true)) x,
    query_to_xml('select body from notes', true, true, '') y where y::text like '%hooli%'`
}

async function readHidden (t: Test, without: readonly Login[]): Promise<{ level: number, read: string }> {
  const on = await build(t, without)
  await on.admin('create extension tablefunc schema public; grant execute on all functions in schema public to public')
  const database = on.open()
  const { level } = await database.boot()
  const { system } = rolesOf(databaseOf(on.superUrl))
  const global = database.global as unknown as Kysely<{ people: { id: number, name: string } }>
  t.same(await global.selectFrom('people').select('name').execute(), [{ name: 'person:1' }], 'the handle itself works')
  // The name of the table is text that connectby() puts into its query, so the statement names nothing that is refused.
  const from = `(${hidden(system)}) hidden`
  const text = sql`select * from connectby(${from}, 'id', 'parent', '0', 0) as t(keyid int, parent int, level int)`
  const read = await text.execute(global).then(({ rows }) => `${rows.length} rows`, (error: { code?: string }) => error.code ?? 'no code')
  return { level, read }
}

t.test('CON-11 the login of the global tables cannot become what reads all tenants, at level 2 and above', async t => {
  t.match(await readHidden(t, []), { level: 3, read: '42501' })
  const control = await readHidden(t, ['globalUrl'])
  t.not(control.read, '42501', 'control: the login of systemUrl becomes tenancy_system')
  t.equal(control.level, 1, 'which the boot does not call level 2')
})

t.test('CON-11 a login of the global tables that may become more is no level 2', async t => {
  const on = await build(t)
  const user = decodeURIComponent(new URL(on.login('globalUrl')).username)
  await on.admin(`grant "${rolesOf(databaseOf(on.superUrl)).system}" to "${user}"`)
  t.match(await on.open().boot(), { level: 1, reasons: [new RegExp(`the login '${user}' may become 'tenancy_system`)] })
  t.match((await on.manager.doctor()).findings.filter(({ id }) => id === 'D308').length, 1)
  await on.manager.init({ url: on.superUrl, tenantRoles: true })
  t.match(await on.open().boot(), { level: 3 }, 'init takes it away')
})

t.test('the look-ups of the registry are the registry login\'s alone, where there is one', async t => {
  const text = 'select tenancy.tenant_by_slug(\'the-acme\') as tenant'
  const asked = async (t: Test, url: string): Promise<unknown> => (await connect(t, url)).query(text).then(({ rows }) => (rows[0] as { tenant: string }).tenant.includes('acme'), (error: { code: string }) => error.code)
  const on = await build(t, ['registryUrl'])
  t.equal(await asked(t, on.login('url')), true)
  t.equal(await asked(t, on.login('tenantRolesUrl')), '42501')
  const after = on.managerOf([])
  await on.admin(`grant execute on function tenancy.tenant_by_slug(text) to "${decodeURIComponent(new URL(on.login('globalUrl')).username)}"; create role "leftover_${databaseOf(on.superUrl)}" nologin; grant execute on function tenancy.tenant_by_id(text) to "leftover_${databaseOf(on.superUrl)}"`)
  t.match((await after.doctor()).findings.filter(({ id }) => id === 'D421').map(({ object }) => object), [/tenant_by_domain/, /tenant_by_id/, /tenant_by_slug/])
  await after.init({ url: on.superUrl, tenantRoles: true })
  t.same((await after.doctor()).findings.filter(({ id }) => id === 'D421'), [])
  for (const name of ['url', 'tenantRolesUrl', 'globalUrl', 'systemUrl'] as const) t.equal(await asked(t, on.login(name)), '42501', name)
  t.equal(await asked(t, on.login('registryUrl')), true)
  const { rows } = await on.admin('select has_function_privilege($1, \'tenancy.tenant_by_id(text)\', \'execute\') as may', [`leftover_${databaseOf(on.superUrl)}`])
  t.same(rows, [{ may: false }])
  await on.admin(`drop owned by "leftover_${databaseOf(on.superUrl)}"; drop role "leftover_${databaseOf(on.superUrl)}"`)
  t.match(await on.open([]).boot(), { level: 3 })
})

t.test('in development one URL serves for everything', async t => {
  const on = await build(t)
  const manager = createManager({ rls: { secret }, tables, database: on.superUrl, provision: async ({ client }) => { await client.query('create table notes (body text)') } })
  t.teardown(() => manager.close())
  await manager.init()
  await manager.create({ id: 'hooli', slug: 'the-hooli', isolation: 'schema' })
  const database = openDatabase(resolveDatabaseOptions({ rls: { secret }, tables, database: on.superUrl }))
  t.teardown(() => database.close())
  t.match(await database.boot(), { level: 0 })
  t.same(await dbOf(t, database, await tenantOf(manager, 'hooli')).selectFrom('notes').selectAll().execute(), [])
  t.equal((await (database.global as unknown as Kysely<{ people: { id: number } }>).selectFrom('people').selectAll().execute()).length, 1)
  t.match(await on.open([], { globalUrl: on.login('url'), registryUrl: on.login('url') }).boot(), { level: 1, reasons: [/registryUrl/, /globalUrl/] }, 'the same user under another name is no login of its own')
})
