// Which roles SQL can take that is injected into one tenant's statement. Another login holds the
// roles of tenants.
import { tenantRole } from '@fastify-tenancy/core/keys'
import type { LevelReport } from '@fastify-tenancy/database'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import { sql, type Kysely } from 'kysely'
import t from 'tap'

import { noPgBouncer, pgBouncer } from '../support/pgbouncer.ts'
import { databaseOf } from '../support/sql.ts'
import { build, dbOf, tenantOf } from './logins-fixture.ts'

/** Statements of acme that each ask for rows of another tenant's role. */
function attacks (role: string): Readonly<Record<string, string>> {
  const read = 'select body from tenant_globex.notes'
  return {
    'in one statement':
      `select set_config('role', '${role}', true), query_to_xml('${read}', true, true, '')::text as found`,
    'in a lateral join':
      `select found.* from (select set_config('role', '${role}', true) as taken offset 0) step ` +
      `cross join lateral (select query_to_xml('${read} where ''' || step.taken || ''' <> ''''', true, ` +
      `true, '')::text as found) found`,
    'by a function of the application': `select public.run('set local role "${role}"', '${read}') as found`,
    'by session authorization':
      `select public.run('set local session authorization "${role}"', '${read}') as found`
  }
}

const runner = `create function public.run(first text, then_read text) returns text language plpgsql as
  $$ declare found text; begin execute first; execute then_read into found; return found; end $$`

async function attack (database: Kysely<never>, text: string): Promise<string> {
  return sql<{ found: string }>`${sql.raw(text)}`.execute(database).then(
    ({ rows }) => JSON.stringify(rows),
    (error: { code?: string }) => error.code ?? 'no code'
  )
}

t.test('CON-09 level 3: SQL injected under signed rls takes no role of a tenant with a schema', async t => {
  const on = await build(t)
  await on.admin(runner)
  const database = on.open()
  const report = await database.boot()
  t.match(report, { level: 3 })
  const [acme, globex] = [await tenantOf(on.manager, 'acme'), await tenantOf(on.manager, 'globex')]
  t.same(
    await dbOf(t, database, globex).selectFrom('notes').selectAll().execute(),
    [{ body: 'globex:1' }],
    'the tenant itself is served'
  )
  const role = tenantRole('globex', databaseOf(on.superUrl))
  for (const [name, text] of Object.entries(attacks(role)))
    t.equal(await attack(dbOf(t, database, acme) as never, text), '42501', name)
  await t.rejects(
    dbOf(t, database, acme).transaction().execute(async trx => {
      await sql`select set_config('role', ${role}, true)`.execute(trx)
    }),
    { code: '42501' },
    'in a transaction'
  )
  t.match(
    await attack(
      dbOf(t, database, globex) as never,
      `select set_config('role', '${
        rolesOf(databaseOf(on.superUrl)).app
      }', true), query_to_xml('select body from public.notes', true, true, '')::text as found`
    ),
    /^(?:42501|TN401)$/,
    'nor the other way round'
  )
  const doctor = await on.manager.doctor()
  t.equal(doctor.level, 3)
  t.same(
    doctor.findings.filter(({ level }) => level !== 'info').map(({ id, object }) => `${id} ${object}`),
    []
  )
})

t.test('CON-09 control: on one login the same SQL reads the schema, and level 3 is not reported', async t => {
  const on = await build(t, ['tenantRolesUrl'])
  await on.admin(runner)
  const database = on.open()
  const report = await database.boot()
  t.match(report, { level: 2, reasons: [/tenantRolesUrl/] })
  const doctor = await on.manager.doctor()
  t.match(doctor, { level: 2, reasons: [/tenantRolesUrl/] })
  t.match(doctor.findings.filter(({ id }) => id === 'D313'), [{
    level: 'warning',
    fix: '-- set options.database.tenantRolesUrl, then run tenancy init'
  }])
  t.ok((report.warnings ?? []).some(text => text.startsWith('D313 ')), 'the boot says it too')
  const role = tenantRole('globex', databaseOf(on.superUrl))
  for (const [name, text] of Object.entries(attacks(role))) {
    if (name !== 'by session authorization')
      t.match(
        await attack(dbOf(t, database, await tenantOf(on.manager, 'acme')) as never, text),
        /globex:1/,
        name
      )
  }
  await t.rejects(on.open(['tenantRolesUrl'], { requireLevel: 3 }).boot(), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /tenantRolesUrl/
  })
})

t.test('CON-09 init hands the roles of tenants over to the login of tenantRolesUrl, and back', async t => {
  const on = await build(t, ['tenantRolesUrl'])
  const [role, app] = [tenantRole('globex', databaseOf(on.superUrl)),
    decodeURIComponent(new URL(on.login('url')).username)]
  const may = async (login: string): Promise<boolean> => {
    const { rows } = await on.admin(
      "select pg_has_role($1, $2, case when current_setting('server_version_num')::int >= 160000 " +
        "then 'SET' else 'MEMBER' end) as may",
      [login, role]
    )
    return (rows[0] as { may: boolean }).may
  }
  t.ok(await may(app))
  await t.rejects(on.open([]).boot(), {
    code: 'FST_TENANCY_DATABASE_UNAVAILABLE',
    message:
      /as login 'login_tenantroles_\w+': the server (?:refused the password|does not let this login in)/
  }, 'there is no such login yet')
  const url = Object.assign(new URL(on.login('url')), { password: 'wrong' }).href
  await t.rejects(on.open([], { url }).boot(), {
    message: /as login 'login_url_\w+': the server refused the password/
  }, 'control: the login of url is named if it is the one that failed')
  const { username, password } = new URL(on.login('tenantRolesUrl'))
  await on.admin(`create role "${username}" login noinherit password '${decodeURIComponent(password)}'`)
  await t.rejects(on.open([]).boot(), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /tenantRolesUrl may not become the roles of tenants: run `tenancy init`/
  })
  const after = on.managerOf([])
  t.same((await after.init({ url: on.superUrl, tenantRoles: true })).remarks, [])
  const database = on.open([])
  t.match(await database.boot(), { level: 3 })
  t.notOk(await may(app))
  const globex = await tenantOf(on.manager, 'globex')
  t.same(await dbOf(t, database, globex).selectFrom('notes').selectAll().execute(), [{ body: 'globex:1' }])
  await after.create({ id: 'stark', slug: 'the-stark', isolation: 'schema' })
  t.same(
    await dbOf(t, database, await tenantOf(after, 'stark')).selectFrom('notes').selectAll().execute(),
    [],
    'and so is one that is made now'
  )
  t.match(await database.boot(), { level: 3 })

  await on.admin(`grant "${role}" to "${app}"`)
  const again = on.open([])
  t.match(await again.boot(), {
    level: 2,
    reasons: [/may still become the roles of 1 tenants: run `tenancy init`/]
  })
  t.match((await after.doctor()).findings.find(({ id }) => id === 'D313'), {
    level: 'error',
    fix: /^revoke /
  })
  await on.admin((await after.doctor()).findings.find(({ id }) => id === 'D313')?.fix ?? '')
  t.notOk(await may(app), 'the fix of the doctor mends it')

  t.same((await on.manager.init({ url: on.superUrl, tenantRoles: true })).remarks, [])
  t.ok(await may(app), 'without tenantRolesUrl one login serves for all')
})

t.test('CON-09 with a role per tenant the login of url takes no such role', async t => {
  for (const without of [[], ['tenantRolesUrl']] as const) {
    const on = await build(t, without, { context: 'role' })
    const database = on.open()
    const report: LevelReport = await database.boot()
    t.equal(report.level, without.length === 0 ? 3 : 2)
    const acme = dbOf(t, database, await tenantOf(on.manager, 'acme'))
    t.same(await acme.selectFrom('notes').select('body').execute(), [{ body: 'acme:1' }])
    await acme.transaction().execute(async trx => {
      t.same(await trx.selectFrom('notes').select('body').execute(), [{ body: 'acme:1' }])
    })
  }
})

t.test("CON-09 the login of tenants' roles may lead through a pooler where the other does not", {
  skip: noPgBouncer
}, async t => {
  const on = await build(t, [], { context: 'role' })
  const database = on.open([], { tenantRolesUrl: await pgBouncer(t, on.login('tenantRolesUrl')) })
  t.match(await database.boot(), { level: 3 })
  const [acme, globex] = [await tenantOf(on.manager, 'acme'), await tenantOf(on.manager, 'globex')]
  await Promise.all(Array.from({ length: 20 }, async (_, n) => {
    const [tenant, own] = n % 2 === 0 ? [acme, 'acme:1'] : [globex, 'globex:1']
    t.same(
      await dbOf(t, database, tenant).selectFrom('notes').select('body').where('body', '<>', String(n))
        .execute(),
      [{ body: own }]
    )
  }))
  t.equal(
    await attack(
      dbOf(t, database, acme) as never,
      `select set_config('role', '${rolesOf(databaseOf(on.superUrl)).system}', true) as found`
    ),
    '42501'
  )
})
