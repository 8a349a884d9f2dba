import { postgresRegistry } from '@fastify-tenancy/database'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { init } from '@fastify-tenancy/postgres/install'
import { registryConformance } from '@fastify-tenancy/testing'
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect, connectEmbedded, engines, loginOf, loginUrl } from '../support/sql.ts'

const conflict = { code: 'FST_TENANCY_TENANT_CONFLICT' }

t.test('on PostgreSQL', async t => {
  const url = await freshDatabase(t)
  await init(await connect(t, url))
  const pool = new pg.Pool({ connectionString: url, max: 4 })
  t.teardown(() => pool.end())
  const gone = new pg.Pool({ host: '127.0.0.1', port: 1 })
  for (
    const { name, run } of registryConformance(() => postgresRegistry(pool), {
      unreachable: () => postgresRegistry(gone)
    })
  ) await t.test(name, run)
})

t.test('on PGlite', async t => {
  const client = await connectEmbedded(t)
  await init(client)
  for (const { name, run } of registryConformance(() => postgresRegistry(client))) await t.test(name, run)
})

for (const [engine, open] of engines) {
  t.test(`${engine}: SLG-01 names`, async t => {
    const client = await open(t)
    await init(client)
    const registry = postgresRegistry(client)

    await t.test("an id is nobody's slug, and a slug nobody's id", async t => {
      await registry.insert({ id: 'first', slug: 'acme' })
      await t.rejects(registry.insert({ id: 'acme', slug: 'other' }), {
        ...conflict,
        message: 'the id is taken'
      })
      await t.rejects(registry.insert({ id: 'other', slug: 'first' }), {
        ...conflict,
        message: /the slug is taken/
      })
      await t.rejects(registry.insert({ id: 'same', slug: 'same' }), {
        ...conflict,
        message: 'an id and a slug must differ'
      })
      const acme = await registry.findBySlug('acme')
      await t.rejects(registry.update('first', acme?.version ?? 0, { slug: 'first' }), conflict)
    })

    await t.test('a released slug stays taken for 30 days, except for its own tenant', async t => {
      const old = await registry.insert({ id: 'renamed', slug: 'before' })
      const renamed = await registry.update(old.id, old.version, { slug: 'after' })
      await t.rejects(registry.insert({ id: 'thief', slug: 'before' }), { ...conflict, message: /30 days/ })
      const back = await registry.update(old.id, renamed.version, { slug: 'before' })
      const deleted = await registry.update(old.id, back.version, { status: 'deleted' })
      t.equal(await registry.findBySlug('before'), undefined)
      t.equal((await registry.findById(old.id))?.status, 'deleted', 'the record stays')
      await t.rejects(registry.insert({ id: 'thief', slug: 'before' }), conflict)
      await t.rejects(
        registry.insert({ id: 'renamed', slug: 'fresh' }),
        conflict,
        'an id is never used again'
      )
      await client.query(
        "update tenancy.names set free_at = free_at - interval '31 days' where free_at is not null"
      )
      t.equal((await registry.insert({ id: 'heir', slug: 'before' })).slug, 'before')
      await t.rejects(
        registry.update(old.id, deleted.version, { status: 'active' }),
        conflict,
        'nor does a restored tenant take it back'
      )
      await client.query("delete from tenancy.tenants where id = 'heir'")
      await t.rejects(registry.insert({ id: 'thief', slug: 'before' }), conflict)
    })

    await t.test('a row that this version does not understand is an error, never a guess', async t => {
      await registry.insert({ id: 'odd', slug: 'odd-one' })
      await client.query(
        `alter table tenancy.tenants drop constraint tenants_status_check; update tenancy.tenants
          set status = 'frozen' where id = 'odd'`
      )
      await t.rejects(registry.findBySlug('odd-one'))
      await t.rejects(registry.findById('odd'))
      await client.query("delete from tenancy.tenants where id = 'odd'")
    })

    await t.test('a domain is a lower-case name below a dot, and no address', async t => {
      for (
        const domain of ['localhost', 'A.example', '127.0.0.1', 'a..example', '-a.example', 'a_b.example',
          '*.example', '', `${'a'.repeat(63)}.`.repeat(4) + 'example']
      ) {
        await t.rejects(
          registry.insert({ id: randomUUID(), slug: 'domain', domains: [domain] }),
          conflict,
          domain
        )
      }
    })

    await t.test('a claim that nobody has proved finds nobody and does not keep the holder out', async t => {
      await registry.insert({ id: 'squatter', slug: 'the-squatter' })
      await client.query(
        "insert into tenancy.domains (tenant_id, domain) values ('squatter', 'shop.example')"
      )
      t.equal(await registry.findByDomain('shop.example'), undefined)
      await registry.insert({ id: 'holder', slug: 'the-holder', domains: ['shop.example'] })
      t.equal((await registry.findByDomain('shop.example'))?.id, 'holder')
      await t.rejects(
        client.query("update tenancy.domains set verified_at = now() where tenant_id = 'squatter'"),
        { code: '23505' }
      )
    })
  })
}

t.test('SLG-01 LIF-02 of many writers that want one name, one gets it', async t => {
  const url = await freshDatabase(t)
  await init(await connect(t, url))
  const pool = new pg.Pool({ connectionString: url, max: 8 })
  t.teardown(() => pool.end())
  const registry = postgresRegistry(pool)
  for (let round = 0; round < 10; round++) {
    const [a, b] = [`a-${round}`, `b-${round}`]
    // Crosswise, so that writers who locked names in the given order would deadlock.
    const results = await Promise.allSettled([
      registry.insert({ id: a, slug: b }),
      registry.insert({ id: b, slug: a }),
      registry.insert({ id: a, slug: b }),
      registry.insert({ id: `x-${round}`, slug: a })
    ])
    t.ok([1, 2].includes(results.filter(({ status }) => status === 'fulfilled').length))
    for (const result of results) if (result.status === 'rejected') t.match(result.reason, conflict)
    const { rows } = await pool.query(
      'select count(*)::int as twice from tenancy.tenants one join tenancy.tenants two on one.id = two.slug'
    )
    t.same(rows, [{ twice: 0 }])
  }
})

t.test("look-ups are one statement each, and need only the application's login", async t => {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  const app = loginUrl(url, 'app')
  await init(admin, { logins: { app: loginOf(app) } })
  await postgresRegistry(admin).insert({ id: 'acme', slug: 'acme-inc', domains: ['acme.example'] })
  const client = await connect(t, app)
  let statements = 0
  const counting: SqlClient = {
    query: (text, values) => {
      statements++
      return client.query(text, values) as never
    }
  }
  const registry = postgresRegistry(counting)
  for (
    const tenant of [await registry.findBySlug('acme-inc'), await registry.findByDomain('acme.example'),
      await registry.findById('acme')]
  ) t.equal(tenant?.id, 'acme')
  t.equal(statements, 3)
  for (const bad of ['', 'a\0', 'A', 'a_b']) t.equal(await registry.findBySlug(bad), undefined)
  for (const bad of ['', 'a\0', 'A']) t.equal(await registry.findByDomain(bad), undefined)
  for (const bad of ['', 'a\0', 'a b']) t.equal(await registry.findById(bad), undefined)
  t.equal(statements, 3, 'what cannot be a name costs none')
  await t.rejects(registry.list()[Symbol.asyncIterator]().next(), {
    code: 'FST_TENANCY_SETUP_INVALID',
    cause: { code: '42501' }
  })
  await t.rejects(registry.insert({ id: 'b', slug: 'bb' }), { code: '42501' })
})
