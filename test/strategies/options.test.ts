import { toTenant, memoryRegistry } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseRuntime } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import { sql } from 'kysely'
import t, { type Test } from 'tap'

import { loginUrl } from '../support/sql.ts'
import { secret, silent, tables, world } from './strategy-fixture.ts'

const url = 'postgres://app@host/app'

t.test('options of strategies are checked, and defaults are filled in', async t => {
  const { database, isolation, rls } = resolveDatabaseOptions({
    database: {
      url,
      tenants: { url: 'postgres://{database}:pw@host/{database}' },
      shards: { eu: url },
      budget: 20
    },
    isolation: 'database',
    rls: { context: 'role' }
  })
  t.match(database, {
    tenants: { pool: { max: 2 }, maxPools: 50, idle: 300_000, connectTimeout: 2_000 },
    shards: { eu: { url } },
    budget: { connections: 20, whenFull: 'evict' }
  })
  t.equal(isolation, 'database')
  t.equal(rls.context, 'role')
  t.match(resolveDatabaseOptions({ database: url }).database, {
    budget: { connections: 100, whenFull: 'evict' },
    shards: {},
    tenants: undefined
  })
})

t.test('a wrong option stops the boot, and its message holds no password', async t => {
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ database: url, isolation: 'database' }, /options\.database\.tenants is required/],
    [{ database: url, isolation: 'silo' },
      /options\.isolation must be one of 'rls', 'row', 'schema', 'database'/],
    [{ database: { url, tenants: { url: 'postgres://u:hunter2@host/one' } } },
      /options\.database\.tenants\.url must be a URL with \{database\}/],
    [{ database: { url, tenants: { url: 'pglite://memory' } } }, /\{database\}/],
    [{ database: { url, tenants: { maxPools: 0 } } },
      /options\.database\.tenants\.maxPools must be a positive integer/],
    [{ database: { url, tenants: { idle: 5 } } }, /options\.database\.tenants\.idle must be a duration/],
    [{ database: { url, tenants: { decrypt: 'no' } } }, /options\.database\.tenants\.decrypt/],
    [{ database: { url, shards: { eu: 'mysql://u:hunter2@host' } } }, /options\.database\.shards\.eu/],
    [{ database: { url, shards: { eu: { url, registryUrl: url } } } },
      /options\.database\.shards\.eu\.registryUrl is not a known option/],
    [{ database: { url, shards: { default: url } } }, /must not name 'default'/],
    [{ database: { url, budget: 0 } }, /options\.database\.budget/],
    [{ database: { url, budget: { connections: 5, whenFull: 'panic' } } },
      /options\.database\.budget\.whenFull must be one of/],
    [{ database: url, rls: { context: 'login' } }, /options\.rls\.context must be one of/],
    [{ database: url, tables: { tenant: 'all' } }, /options\.tables\.tenant must be .*'auto'/]
  ]
  for (const [given, message] of wrong) {
    t.throws(
      () => resolveDatabaseOptions(given),
      { code: 'FST_TENANCY_OPTION_INVALID', message },
      JSON.stringify(given)
    )
    t.throws(() => resolveDatabaseOptions(given), { message: /^((?!hunter2).)*$/ })
  }
})

t.test("isolation applies to tenants that name none, but not to a registry's own 'rls'", async t => {
  const on = await world(t, { isolation: 'schema' })
  const acme = await on.create('acme')
  const schemaOf = async (t: Test, registry?: object): Promise<unknown> => {
    const database: DatabaseRuntime = openDatabase(
      resolveDatabaseOptions({
        isolation: 'schema',
        database: on.url,
        tables,
        ...(registry !== undefined && { registry })
      })
    )
    t.teardown(() => database.close())
    await database.boot()
    const db = database.forScope(
      new TenantScope(toTenant({ id: 'acme', slug: 'slug-of-acme' }), silent)
    ) as never
    return (await sql<{ path: string }>`select current_setting('search_path') as path`.execute(db)).rows[0]
      ?.path
  }
  t.equal(await schemaOf(t, memoryRegistry([{ id: 'acme', slug: 'slug-of-acme' }])), '"tenant_acme", pg_temp')
  t.equal(
    await schemaOf(t),
    '"public", pg_temp',
    'in the registry on Postgres every tenant has a strategy of its own, and this one says rls'
  )
  t.equal(acme.isolation, 'schema')
})

t.test('level 4: each tenant has its own login', async t => {
  const on = await world(t, { rls: { secret } })
  const [registryUrl, systemUrl, ownerUrl] = ['registry', 'system', 'owner'].map(use =>
    loginUrl(on.superUrl, use)
  ) as [string, string, string]
  const database = { url: on.url, registryUrl, systemUrl, ownerUrl }
  const manager = createManager({ database, rls: { secret }, tables })
  t.teardown(() => manager.close())
  await manager.init({ url: on.superUrl })
  const levelOf = async (template: string): Promise<number> => {
    const opened = openDatabase(
      resolveDatabaseOptions({
        isolation: 'database',
        rls: { secret },
        tables,
        database: { ...database, tenants: { url: template } }
      })
    )
    t.teardown(() => opened.close())
    return (await opened.boot()).level
  }
  t.equal(await levelOf('postgres://{database}:pw@localhost/{database}'), 4)
  t.equal(await levelOf('postgres://everybody:pw@localhost/{database}'), 3)
  await manager.create({ slug: 'shared', isolation: 'rls' })
  t.equal(
    await levelOf('postgres://{database}:pw@localhost/{database}'),
    3,
    'a tenant of another strategy has none'
  )
})
