// Every strategy, on two shards, in one application, under the harness in which naive pools leak.
import { toTenant, type Isolation, type TenantRecord } from '@fastify-tenancy/core'
import { tenantRole } from '@fastify-tenancy/core/keys'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, type DatabaseConnectionOptions, type DatabaseRuntime } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import type { Kysely } from 'kysely'
import t from 'tap'

import { runIsolationHarness, tenants as names } from '../isolation/harness.ts'
import { freshDatabase } from '../support/fresh.ts'
import { isLong } from '../support/long.ts'
import { connect, databaseOf, loginUrl } from '../support/sql.ts'
import { fill, harnessHandles, tenantOf } from './harness-handles.ts'
import { databaseTemplate, dropDatabases, secret, silent, type Rows } from './strategy-fixture.ts'

const superUrl = await freshDatabase(t)
const euUrl = await freshDatabase(t)
const mark = databaseOf(superUrl).slice(2)
const [url, eu] = [loginUrl(superUrl, 'app'), loginUrl(euUrl, 'app')]
const shared = 'create table projects (tenant_id text not null, name text not null); ' +
  'create table countries (code text primary key)'
const connection: DatabaseConnectionOptions = {
  url,
  ownerUrl: superUrl,
  shards: { eu: { url: eu, ownerUrl: euUrl } },
  tenants: { url: databaseTemplate(superUrl) }
}
const options = {
  database: connection,
  rls: { secret },
  tables: { tenant: ['projects'], shared: ['countries'] }
}
const manager = createManager({
  ...options,
  provision: async ({ client }) => {
    await client.query('create table projects (name text not null)')
  }
})
t.teardown(() => manager.close())
for (const each of [superUrl, euUrl]) await (await connect(t, each)).query(shared)
await manager.init()
await manager.protect()
let count = 0

async function create (
  isolations: readonly (readonly [Isolation, string])[]
): Promise<Map<string, TenantRecord>> {
  const made = new Map<string, TenantRecord>()
  for (const [n, name] of names.entries()) {
    const [isolation, shard] = isolations[n % isolations.length] ?? ['rls', 'default']
    const id = `${name}-${mark}-${++count}`
    if (isolation === 'database') dropDatabases(t, superUrl, [`tenant_${id}`])
    made.set(name, await manager.create({ id, slug: `the-${id}`, isolation, shard }))
  }
  return made
}

const cases: Readonly<Record<string, readonly (readonly [Isolation, string])[]>> = {
  'rls, schema and database': [['rls', 'default'], ['schema', 'default'], ['database', 'default']],
  'rls on two shards, and row': [['rls', 'default'], ['rls', 'eu'], ['row', 'default']],
  'row, schema and row on two shards': [['row', 'eu'], ['schema', 'eu'], ['row', 'default']],
  schema: [['schema', 'default']],
  row: [['row', 'default']],
  database: [['database', 'default']]
}

for (const [at, [name, isolations]] of Object.entries(cases).entries()) {
  // Only the first case has all three isolations, so the daily run tests it also with a pool of one
  // connection.
  for (const max of isLong || at === 0 ? [1, 3] : [3]) {
    t.test(`${name}, pools of ${max}: request.db leaks nothing under the harness`, async t => {
      const tenants = await create(isolations)
      const database = openDatabase(
        resolveDatabaseOptions({
          ...options,
          database: {
            ...connection,
            pool: { max },
            tenants: { ...connection.tenants, pool: { max } },
            budget: 6
          }
        })
      )
      t.teardown(() => database.close())
      await database.boot()
      await fill(database, tenants)
      await t.resolves(runIsolationHarness(harnessHandles(database, tenants)))
      await database.close()
    })
  }
}

t.test('a tenant on an unknown shard is 503, and the log names the missing option', async t => {
  const database = openDatabase(resolveDatabaseOptions(options))
  t.teardown(() => database.close())
  await database.boot()
  const at = (placement: { shard: string }, isolation: Isolation = 'rls'): unknown => {
    try {
      return database.forScope(
        new TenantScope(toTenant({ id: 'x', slug: 'x-1', placement, isolation }), silent)
      )
    } catch (error) {
      return error
    }
  }
  t.match(at({ shard: 'us' }), {
    code: 'FST_TENANCY_DATABASE_UNAVAILABLE',
    statusCode: 503,
    cause: { message: /shard 'us' is not among options\.database\.shards/ }
  })
  t.notMatch((at({ shard: 'us' }) as Error).message, /us'/)
  t.match(at({ shard: 'eu' }), { selectFrom: Function })
  const without = openDatabase(resolveDatabaseOptions({ ...options, database: { url, ownerUrl: superUrl } }))
  t.teardown(() => without.close())
  await without.boot()
  t.throws(
    () =>
      without.forScope(
        new TenantScope(toTenant({ id: 'x', slug: 'x-1', isolation: 'database' }), silent)
      ),
    { code: 'FST_TENANCY_DATABASE_UNAVAILABLE', cause: { message: /options\.database\.tenants/ } }
  )
})

t.test('the boot checks every shard, and requireLevel holds for each', async t => {
  const empty = await freshDatabase(t)
  const open = (database: object): DatabaseRuntime => {
    const opened = openDatabase(
      resolveDatabaseOptions({ ...options, database: { ...connection, ...database } })
    )
    t.teardown(() => opened.close())
    return opened
  }
  await t.rejects(open({ shards: { us: empty } }).boot(), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /shard 'us'.*tenancy init/
  })
  await t.rejects(open({ requireLevel: 1, shards: { eu: euUrl } }).boot(), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /shard 'eu'.*superuser/
  })
  await t.resolves(open({ requireLevel: 1 }).boot())
})

t.test('a tenant of one shard does not hold up those of another', async t => {
  const tenants = await create([['rls', 'default'], ['rls', 'eu']])
  const database = openDatabase(
    resolveDatabaseOptions({ ...options, database: { ...connection, pool: { max: 1 } } })
  )
  t.teardown(() => database.close())
  await database.boot()
  const [here, there] = names.map(name =>
    database.forScope(new TenantScope(tenantOf(tenants, name), silent)) as unknown as Kysely<Rows>
  )
  const held = Promise.withResolvers<void>()
  const began = Promise.withResolvers<void>()
  const slow = here?.transaction().execute(async trx => {
    await trx.selectFrom('projects').selectAll().execute()
    began.resolve()
    await held.promise
  })
  await began.promise
  await t.resolves(there?.selectFrom('projects').selectAll().execute() ?? t.fail() as never)
  held.resolve()
  await slow
})

t.test('role names of two databases of one server differ', async t => {
  t.not(tenantRole('acme', databaseOf(superUrl)), tenantRole('acme', databaseOf(euUrl)))
})
