import { openDatabase, tableRegistry } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'

const url = await freshDatabase(t)
const client = await connect(t, url)
await client.query(`
  create table organizations (id bigint primary key, subdomain text not null unique, title text,
    blocked boolean not null default false, tier text, custom_domain text, prefs jsonb,
    made timestamptz not null default '2026-01-02');
  insert into organizations
    values (7, 'acme', 'Acme Ltd', false, 'pro', 'acme.test', '{"theme":"dark"}'),
    (8, 'globex', 'Globex', true, null, null, null), (9, 'initech', null, false, 'pro', null, null)`)

const options = {
  table: 'public.organizations',
  columns: {
    id: 'id',
    slug: 'subdomain',
    name: 'title',
    plan: 'tier',
    domain: 'custom_domain',
    settings: 'prefs',
    createdAt: 'made'
  },
  map: (row: Readonly<Record<string, unknown>>) => ({
    status: row.blocked === true ? 'suspended' as const : 'active' as const
  })
}

t.test("tenants are read from a table of the application's own", async t => {
  const registry = tableRegistry({ ...options, client })
  const acme = await registry.findBySlug('acme')
  t.match(acme, {
    id: '7',
    slug: 'acme',
    name: 'Acme Ltd',
    status: 'active',
    plan: 'pro',
    isolation: 'rls',
    placement: { shard: 'default' },
    domains: ['acme.test'],
    settings: { theme: 'dark' }
  })
  t.equal(acme?.createdAt.toISOString().slice(0, 7), '2026-01')
  t.ok(Object.isFrozen(acme))
  t.same(await registry.findById('7'), acme)
  t.same(await registry.findByDomain('acme.test'), acme)
  t.match(await registry.findBySlug('globex'), {
    id: '8',
    status: 'suspended',
    plan: 'free',
    name: 'Globex',
    domains: { length: 0 }
  })
  t.match(await registry.findBySlug('initech'), { name: 'initech' })
  for (const nobody of ['nobody', 'ACME', "a'; drop table organizations; --"])
    t.equal(await registry.findBySlug(nobody), undefined)
  for (const nobody of ['007', '7x', '99999999999999999999999'])
    t.equal(await registry.findById(nobody), undefined, nobody)
  t.equal(await registry.findByDomain('nobody.test'), undefined)
})

t.test('tenants are listed by id, and by filter', async t => {
  const registry = tableRegistry({ ...options, client })
  const list = async (filter = {}): Promise<string[]> => {
    const slugs: string[] = []
    for await (const { slug } of registry.list(filter)) slugs.push(slug)
    return slugs
  }
  t.same(await list(), ['acme', 'globex', 'initech'])
  t.same(await list({ status: ['suspended'] }), ['globex'])
  t.same(await list({ plan: 'pro' }), ['acme', 'initech'])
  t.same(await list({ shard: 'eu' }), [])
  t.same(await list({ isolation: 'schema' }), [])
})

t.test('the registry is read-only, and tells an outage from an unknown tenant', async t => {
  const registry = tableRegistry({ ...options, client })
  await t.rejects(registry.insert({ id: 'x', slug: 'x-1' }), { message: /create and change tenants there/ })
  await t.rejects(registry.update('7', 1, {}), { message: /create and change tenants there/ })
  await t.rejects(tableRegistry({ ...options, client, table: 'nothing' }).findBySlug('acme'), {
    code: '42P01'
  })
  await t.rejects(
    tableRegistry({ ...options, client, map: () => ({ status: 'live' as never }) }).findBySlug('acme')
  )
  await t.rejects(tableRegistry(options).findBySlug('acme'), { message: /has no connection/ })
  t.throws(() => tableRegistry({ ...options, table: '' }), { code: 'FST_TENANCY_OPTION_INVALID' })
  t.throws(() => tableRegistry({ ...options, columns: { id: 'id' } as never }), {
    code: 'FST_TENANCY_OPTION_INVALID'
  })
})

t.test("without a client of its own it uses the application's connections", async t => {
  const manager = createManager({ database: url })
  t.teardown(() => manager.close())
  await manager.init()
  const registry = tableRegistry(options)
  const database = openDatabase(resolveDatabaseOptions({ database: url, registry }))
  t.teardown(() => database.close())
  await database.boot()
  t.equal(database.registry, registry)
  t.match(await registry.findBySlug('acme'), { id: '7' })
})
