import type { TenantRecord } from '@fastify-tenancy/core'
import { tenantRole } from '@fastify-tenancy/core/keys'
import { openPool } from '@fastify-tenancy/database'
import { createManager } from '@fastify-tenancy/manager'
import { sql } from 'kysely'
import t from 'tap'

import { runIsolationHarness, tenants as names } from '../isolation/harness.ts'
import { connect, databaseOf, loginUrl } from '../support/sql.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'
import { fill, harnessHandles } from './harness-handles.ts'
import { secret, tables, world, type Handle } from './strategy-fixture.ts'

const bodies = async ({ db }: Handle): Promise<string[]> =>
  (await db.selectFrom('notes').select('body').orderBy('id').execute()).map(({ body }) => body)

for (
  const [mode, rls] of [['plain', { context: 'role' }], ['signed', { context: 'role', secret }]] as const
) {
  t.test(`${mode}: a database role per tenant`, async t => {
    const on = await world(t, { rls })
    // 47 characters is the longest id that a role name contains unhashed.
    const ids = ['acme', 'globex', 'x'.repeat(47), 'x'.repeat(48), `${'x'.repeat(47)}y`, 'tenant_acme',
      `acme_${tenantRole('a', databaseOf(on.superUrl)).slice(-8)}`]
    const tenants: TenantRecord[] = []
    for (const [n, id] of ids.entries()) tenants.push(await on.create(id, { slug: `slug-${n}` }))
    const database = await on.open({ pool: { max: 1 } })
    const handles = tenants.map(tenant => on.handle(database, tenant))
    const [a, b] = handles as [Handle, Handle]
    for (const [n, { db }] of handles.entries())
      await db.insertInto('notes').values({ body: `${n}:1` }).execute()

    await t.test('each tenant sees its own rows as its role, also with look-alike names', async t => {
      const roles = new Set<unknown>()
      for (const [n, handle] of handles.entries()) {
        t.same(await bodies(handle), [`${n}:1`])
        roles.add((await sql<{ role: string }>`select current_user as role`.execute(handle.db)).rows[0]?.role)
      }
      t.equal(roles.size, ids.length)
    })

    await t.test("another tenant's setting without its role is an error, never an empty answer", async t => {
      await t.rejects(
        sql`select set_config('tenancy.tenant', 'globex', true), query_to_xml('select body from notes', true,
          true, '')::text`
          .execute(a.db),
        { code: 'TN401' }
      )
      const { app } = await import('@fastify-tenancy/postgres/roles').then(({ rolesOf }) =>
        rolesOf(databaseOf(on.superUrl))
      )
      await t.rejects(
        sql`select set_config('role', ${app}, true), query_to_xml('select body from notes', true, true,
          '')::text`
          .execute(a.db),
        { code: 'TN401' },
        'the group role alone sees nothing'
      )
      await t.rejects(sql`insert into notes (tenant_id, body) values ('globex', 'planted')`.execute(a.db), {
        code: '42501'
      })
      t.same(await bodies(a), ['0:1'])
      t.same(await bodies(b), ['1:1'])
    })

    await t.test(`the other role ${mode === 'signed' ? 'is stopped' : 'gets through'}`, async t => {
      const attack = sql`select set_config('tenancy.tenant', 'globex', true), set_config('role', ${
        tenantRole('globex', databaseOf(on.superUrl))
      }, true), query_to_xml('select body from notes', true, true, '')::text as xml`
      if (mode === 'signed') t.notMatch(JSON.stringify((await attack.execute(a.db)).rows), /1:1/)
      else t.match(JSON.stringify((await attack.execute(a.db)).rows), /1:1/)
      for (const role of ['none', 'postgres'])
        await t.rejects(
          sql`select set_config('role', ${role}, true), query_to_xml('select body from notes', true, true,
            '')::text`
            .execute(a.db),
          { code: '42501' },
          `INJ-20 ${role}`
        )
    })

    await t.test('INJ-21 a role that one statement took does not serve the next', async t => {
      await a.db.transaction().execute(async trx => {
        await sql`select set_config('role', ${tenantRole('globex', databaseOf(on.superUrl))}, true)`.execute(
          trx
        )
        t.same(await trx.selectFrom('notes').select('body').execute(), [{ body: '0:1' }])
      })
      await sql`select set_config('role', ${tenantRole('globex', databaseOf(on.superUrl))}, false)`.execute(
        a.db
      )
      t.same(await bodies(b), ['1:1'])
    })

    await t.test('a statement is one wait', async t => {
      const proxy = await tcpProxy(t, on.url)
      const { db } = on.handle(
        await on.open({ url: proxy.url, pool: { max: 1 } }),
        tenants[0] as TenantRecord
      )
      await db.selectFrom('notes').selectAll().execute()
      proxy.reset()
      await db.selectFrom('notes').selectAll().where('n', '=', 0).execute()
      t.equal(proxy.waits, 1)
      proxy.reset()
      await db.transaction().execute(async trx => {
        for (let i = 0; i < 3; i++) await trx.updateTable('notes').set({ n: i }).execute()
      })
      t.equal(proxy.waits, 4)
    })

    await t.test("the tenant's role costs two grants for any number of tables", async t => {
      const { rows } = await (await connect(t, on.superUrl)).query(
        "select count(*)::int as n from pg_class where relacl::text like '%' || $1 || '%'",
        [tenantRole('acme', databaseOf(on.superUrl))]
      )
      t.same(rows, [{ n: 0 }])
      const report = await on.open().then(opened => opened.boot())
      t.notOk(report.reasons.some(reason => /may become/.test(reason)), report.reasons.join())
    })
  })
}

for (
  const [mode, rls] of [['plain', { context: 'role' }], ['signed', { context: 'role', secret }]] as const
) {
  t.test(`role per tenant, ${mode}: request.db leaks nothing under the harness`, async t => {
    const on = await world(t, { rls })
    const tenants = new Map<string, TenantRecord>()
    for (const name of names) tenants.set(name, await on.create(name))
    const database = await on.open({ pool: { max: 1 } })
    await fill(database, tenants)
    await t.resolves(runIsolationHarness(harnessHandles(database, tenants)))
  })
}

t.test('policies of another context are reported at boot', async t => {
  const on = await world(t, { rls: { context: 'role' } })
  const { openDatabase } = await import('@fastify-tenancy/database')
  const { resolveDatabaseOptions } = await import('@fastify-tenancy/database/options')
  const other = openDatabase(resolveDatabaseOptions({ database: on.url, tables }))
  t.teardown(() => other.close())
  await t.rejects(other.boot(), { code: 'FST_TENANCY_SETUP_INVALID', message: /options\.rls\.context/ })
})

t.test("the owner's login, which is no superuser, makes the roles", async t => {
  const on = await world(t, { rls: { context: 'role' } })
  const manager = createManager({
    rls: { context: 'role' },
    tables,
    database: { url: on.url, ownerUrl: loginUrl(on.superUrl, 'owner') }
  })
  t.teardown(() => manager.close())
  await t.rejects(manager.create({ slug: 'acme' }))
  await manager.init({ url: on.superUrl })
  const tenant = await manager.create({ slug: 'acme' })
  const { db } = on.handle(await on.open(), tenant)
  await db.insertInto('notes').values({ body: 'acme:1' }).execute()
  t.equal((await db.selectFrom('notes').selectAll().execute()).length, 1)
})

t.test("a pool that is passed in is the application's login too", async t => {
  const on = await world(t, { rls: { context: 'role' } })
  const pool = openPool(on.url)
  t.teardown(() => pool.end())
  const manager = createManager({
    rls: { context: 'role' },
    tables,
    database: { url: pool, ownerUrl: on.superUrl }
  })
  t.teardown(() => manager.close())
  const tenant = await manager.create({ slug: 'acme' })
  const { db } = on.handle(await on.open({ url: pool }), tenant)
  t.same(await db.selectFrom('notes').selectAll().execute(), [])
})

t.test('above 500 roles on one login the boot warns', { timeout: 120_000 }, async t => {
  const on = await world(t, { rls: { context: 'role' } })
  const hash = tenantRole('x', databaseOf(on.superUrl)).slice(-8)
  const login = decodeURIComponent(new URL(on.url).username)
  await on.admin(
    `do $$ begin for i in 1..501 loop execute format('create role %I nologin', 'tenant_' || i || ` +
      `'_${hash}'); execute format('grant %I to %I', 'tenant_' || i || '_${hash}', '${login}'); end loop; ` +
      'end $$'
  )
  const report = await (await on.open()).boot()
  t.match(report.warnings, [/501 tenants/])
})
