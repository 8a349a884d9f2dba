// The suite without any fixture of the tests: its own registry and its own embedded database.
import { toTenant } from '@fastify-tenancy/core'
import { postgresRegistry } from '@fastify-tenancy/database'
import { createTenancy } from 'fastify-tenancy'
import { sql, type Kysely } from 'kysely'
import pg from 'pg'
import t from 'tap'

import { provision } from '../support/tenants.ts'
import { dbIn } from './work.ts'

t.test('forEach over the registry on Postgres needs the registry’s login, and says so', async t => {
  const on = await provision(t)
  const owner = new pg.Pool({ connectionString: on.ownerUrl, max: 1 })
  t.teardown(() => owner.end())
  for (const slug of ['acme', 'globex'])
    await postgresRegistry(owner).insert(toTenant({ id: `id-${slug}`, slug }))
  const options = { baseDomain: 'example.com', tables: on.tables, rls: { secret: on.secret ?? '' } }
  const tenancy = await createTenancy({ ...options, database: { url: on.url, registryUrl: on.registryUrl } })
  t.teardown(() => tenancy.close())
  const seen: string[] = []
  await tenancy.forEach({ concurrency: 1 }, async work => {
    const { rows } = await sql<{ tenant: string }>`select current_setting('tenancy.tenant') as tenant`
      .execute(dbIn(work))
    seen.push(`${work.tenant.slug}:${rows[0]?.tenant}`)
  })
  t.same(seen, ['acme:id-acme', 'globex:id-globex'])

  const without = await createTenancy({ ...options, database: { url: on.url } })
  t.teardown(() => without.close())
  await t.rejects(
    without.forEach({}, () => {
      t.fail('ran')
    }),
    { code: 'FST_TENANCY_SETUP_INVALID', message: /registryUrl/ }
  )
})

t.test('on PGlite runs and global tables share its one connection', async t => {
  const tenancy = await createTenancy({
    baseDomain: 'example.com',
    database: 'pglite://memory',
    rls: { secret: 'a secret of at least 32 characters' },
    audit: () => {}
  })
  t.teardown(() => tenancy.close())
  const users = tenancy.global as unknown as Kysely<Record<string, never>>
  const role = sql<{ role: string }>`select current_user::text as role, ${1}::int as n`
  for (let round = 0; round < 2; round++)
    t.match((await role.execute(users)).rows, [{ role: /^tenancy_global_/ }])
  await t.rejects(tenancy.run({ slug: 'acme' }, () => {}), { code: 'FST_TENANCY_TENANT_UNKNOWN' })
  await t.rejects(
    tenancy.asSystem({ reason: 'test', actor: 'test' }, () => {
      t.fail('ran')
    }),
    { code: 'FST_TENANCY_OPTION_INVALID' }
  )
})
