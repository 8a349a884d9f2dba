// The same harness under which naive pools leak, over `request.db`.
import { openDatabase, openPool } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import { assertOwn } from '@fastify-tenancy/testing'
import { sql, type Kysely } from 'kysely'
import t from 'tap'

import { isLong } from '../support/long.ts'
import { dbOf, suite, tenants as manyTenants } from '../support/suite.ts'
import { open, provision, testSecret } from '../support/tenants.ts'
import { fill, makeHandle, runIsolationHarness } from './harness-handles.ts'

const modes = [['signed', testSecret], ['plain', undefined]] as const

for (const [mode, secret] of modes) {
  t.test(`${mode} on PostgreSQL: request.db leaks nothing under the harness`, async t => {
    const on = await provision(t, { secret: secret ?? false })
    const tables = { tenant: ['projects'] }
    const manager = createManager({
      database: on.superUrl,
      tables,
      ...(secret !== undefined && { rls: { secret } })
    })
    t.teardown(() => manager.close())
    await on.admin('create table projects (tenant_id text not null, name text not null)')
    await manager.protect()
    for (const max of [1, 3]) {
      await t.test(`pool of ${max}`, async t => {
        const database = await open(t, { ...on, tables: { ...tables, shared: [] } }, { pool: { max } })
        await on.admin('truncate projects')
        await fill(database)
        await t.resolves(runIsolationHarness(makeHandle(database)))
      })
    }
  })

  // PGlite takes seconds to start. Daily, test/isolation/matrix/others.test.ts has two tenants on it.
  if (!isLong) continue
  t.test(`${mode} on PGlite: request.db leaks nothing under the harness`, async t => {
    const pool = openPool('pglite://memory')
    t.teardown(() => pool.end())
    const options = {
      database: pool,
      tables: { tenant: ['projects'] },
      ...(secret !== undefined && { rls: { secret } })
    }
    const manager = createManager(options)
    await manager.init()
    await pool.query('create table projects (tenant_id text not null, name text not null)')
    await manager.protect()
    const database = openDatabase(resolveDatabaseOptions(options))
    await database.boot()
    await fill(database)
    await t.resolves(runIsolationHarness(makeHandle(database)))
  })
}

t.test('CTX-01 CTX-07 300 concurrent requests with 100 kB bodies keep to their own rows', async t => {
  const on = await provision(t)
  const lines: string[] = []
  const app = await suite(t, on, {
    database: { pool: { max: 4 } },
    logStream: {
      write: line => {
        lines.push(line)
      }
    }
  })
  app.post<{ Body: { body: string; filling: string } }>('/notes', async request => {
    await dbOf(request).insertInto('notes').values({ body: request.body.body }).execute()
    request.log.info({ wrote: request.body.body }, 'wrote')
    return {
      tenant: request.tenant.slug,
      rows: await dbOf(request).selectFrom('notes').select(['tenant_id', 'body']).execute()
    }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const filling = 'x'.repeat(100_000)
  const slugs = manyTenants.map(({ slug }) => slug)
  await Promise.all(Array.from({ length: 300 }, async (_, n) => {
    const slug = slugs[n % slugs.length] ?? ''
    const { statusCode, body } = await app.inject({
      method: 'POST',
      url: '/notes',
      headers: { host: `${slug}.example.com` },
      payload: { body: `${slug}:${n}`, filling }
    })
    t.equal(statusCode, 200)
    t.ok(assertOwn(body, { tenant: slug, tenants: slugs }) >= 1)
    t.equal(JSON.parse(body).tenant, slug)
  }))
  // SID-10: a line that names a tenant's value carries that tenant's id.
  for (
    const line of lines.map(text => JSON.parse(text) as { tenant?: string; wrote?: string }).filter((
      { wrote }
    ) => wrote !== undefined)
  ) {
    t.equal(line.tenant, `id-${line.wrote?.split(':')[0] ?? ''}`)
  }
})

t.test('POOL-02 POOL-12 a missing await or a kept handle gives nothing after the reply', async t => {
  const on = await provision(t)
  const app = await suite(t, on, { database: { pool: { max: 1 } } })
  let kept: Kysely<never> | undefined
  let late: Promise<unknown> = Promise.resolve()
  app.get('/keep', async request => {
    kept = request.db as never
    return 'kept'
  })
  app.get('/loose', async request => {
    const { db } = request
    late = (db as unknown as Kysely<{ notes: { body: string } }>).transaction().execute(async trx => {
      await trx.insertInto('notes').values({ body: 'acme:loose' }).execute()
      await new Promise(resolve => setImmediate(resolve))
      await sql`select pg_sleep(0.2)`.execute(trx)
    }).catch((error: unknown) => error)
    return 'not awaited'
  })
  app.get('/notes', async request => dbOf(request).selectFrom('notes').select('body').execute())
  const get = async (slug: string, url: string): Promise<string> =>
    (await app.inject({ url, headers: { host: `${slug}.example.com` } })).body

  await get('acme', '/keep')
  await t.rejects(sql`select 1`.execute(kept as never), { code: 'FST_TENANCY_SCOPE_CLOSED' })
  await get('acme', '/loose')
  t.ok(await late instanceof Error, 'the transaction was cut off')
  t.equal(await get('globex', '/notes'), '[]')
  t.equal(await get('acme', '/notes'), '[]', 'nothing of it was committed')
})

t.test('CTX-04 request.db is one handle per request, which a logger does not print', async t => {
  const on = await provision(t)
  const app = await suite(t, on)
  app.get(
    '/',
    async request => ({
      same: request.db === request.db,
      keys: Object.keys(request),
      cacheSame: request.cache === request.cache
    })
  )
  app.get('/off', { config: { tenancy: 'off' } }, async request => request.db)
  const { body } = await app.inject({ url: '/', headers: { host: 'acme.example.com' } })
  const answer = JSON.parse(body) as { same: boolean; cacheSame: boolean; keys: string[] }
  t.ok(answer.same && answer.cacheSame)
  for (const name of ['tenant', 'db', 'cache', 'tenancy']) t.notOk(answer.keys.includes(name), name)
  t.match(
    (await app.inject({ url: '/off', headers: { host: 'acme.example.com' } })).body,
    /FST_TENANCY_CONTEXT_MISSING/
  )
})
