// Which values a tenant's fields may have, and how a tenant is printed.
import { toTenant, memoryRegistry } from '@fastify-tenancy/core'
import { boundsProblem, printable } from '@fastify-tenancy/core/names'
import { checkOptions } from '@fastify-tenancy/core/options'
import { createManager } from '@fastify-tenancy/manager'
import { tenantResolver } from '@fastify-tenancy/resolver'
import Fastify from 'fastify'
import tenancy, { createTenancy, type TenancyOptions } from 'fastify-tenancy'
import pg from 'pg'
import t from 'tap'
import * as v from 'valibot'

import { folder, run } from '../cli/command.ts'
import { freshDatabase } from '../support/fresh.ts'
import { provision } from '../support/tenants.ts'

const hostile = 'a\u001b[2Jb\r\nc\u202ed\u0085e\u200bf'

t.test('EDG-17 the bounds of contract 3, at their edges', async t => {
  for (
    const fine of [{ name: 'x'.repeat(200) }, { name: 'Ünïcode 名 👩‍👧 ‮' }, { plan: 'p'.repeat(63) }, {
      settings: { a: 'x'.repeat(65_536 - 8) }
    }, { domains: Array.from({ length: 100 }, (_, n) => `d${n}.example`) }]
  ) {
    t.equal(boundsProblem(fine), undefined)
  }
  for (
    const wrong of [{ name: 'x'.repeat(201) }, { name: '' }, { name: 'x'.repeat(5_000_000) }, {
      name: 'a\u001b[2J'
    }, { name: 'a\nb' }, { name: 'a\u0085' }, { name: 'a\ud800' }, { plan: 'p'.repeat(64) }, {
      plan: 'a\u0000'
    }, { settings: { a: 'x'.repeat(65_536) } }, {
      domains: Array.from({ length: 101 }, (_, n) => `d${n}.example`)
    }]
  ) {
    t.ok(boundsProblem(wrong), JSON.stringify(wrong).slice(0, 60))
  }
})

t.test('EDG-17 both registries and the manager refuse oversized values', async t => {
  const manager = createManager({ database: await freshDatabase(t) })
  t.teardown(() => manager.close())
  await manager.init()
  const { id, version } = await manager.create({ slug: 'acme' })
  const wrong = [{ name: 'x'.repeat(5_000_000) }, { name: hostile }, { plan: 'p'.repeat(64) }, {
    settings: { a: 'x'.repeat(70_000) }
  }]
  for (const input of wrong) {
    await t.rejects(manager.create({ slug: 'other', ...input }), { code: 'FST_TENANCY_OPTION_INVALID' })
    await t.rejects(manager.update({ id }, { version, ...input }), { code: 'FST_TENANCY_OPTION_INVALID' })
    const registry = memoryRegistry([{ id: '1', slug: 'acme' }])
    await t.rejects(registry.insert({ id: '2', slug: 'other', ...input }), {
      code: 'FST_TENANCY_TENANT_CONFLICT'
    })
    await t.rejects(registry.update('1', 1, input), { code: 'FST_TENANCY_TENANT_CONFLICT' })
  }
  t.equal((await manager.get({ id }))?.version, version, 'nothing was written')
})

t.test('EDG-16 a tenant has at most 100 domains, claims included, and others may still claim', async t => {
  const manager = createManager({ database: await freshDatabase(t) })
  t.teardown(() => manager.close())
  await manager.init()
  const [one, two] = [await manager.create({ slug: 'one' }), await manager.create({ slug: 'two' })]
  for (let n = 0; n < 100; n++) await manager.domains.add({ id: one.id }, `d${n}.example.com`)
  await t.rejects(manager.domains.add({ id: one.id }, 'd100.example.com'), {
    code: 'FST_TENANCY_TENANT_CONFLICT',
    message: /100 domains/
  })
  await t.resolves(manager.domains.add({ id: one.id }, 'd5.example.com'), 'again does no harm')
  await t.resolves(manager.domains.add({ id: two.id }, 'd5.example.com'))
  await manager.domains.remove({ id: one.id }, 'd7.example.com')
  await t.resolves(manager.domains.add({ id: one.id }, 'd100.example.com'))
  await t.rejects(
    manager.create({ slug: 'three', domains: Array.from({ length: 101 }, (_, n) => `e${n}.example.com`) }),
    { code: 'FST_TENANCY_OPTION_INVALID' }
  )
})

t.test('memoryRegistry normalises domains as the registry does', async t => {
  const registry = memoryRegistry([{
    id: '1',
    slug: 'acme',
    domains: ['Shop.ACME.example.', 'bücher.example']
  }])
  for (
    const name of ['shop.acme.example', 'SHOP.acme.example', 'shop.acme.example.', 'xn--bcher-kva.example',
      'Bücher.example']
  ) t.equal((await registry.findByDomain(name))?.id, '1', name)
  t.same((await registry.findById('1'))?.domains, ['shop.acme.example', 'xn--bcher-kva.example'])
  await t.rejects(registry.insert({ id: '2', slug: 'other', domains: ['shop.acme.EXAMPLE'] }), {
    code: 'FST_TENANCY_TENANT_CONFLICT'
  })
})

t.test('EDG-17 a printed tenant contains no terminal control characters', async t => {
  t.equal(printable(hostile), 'a\\u001b[2Jb\\u000d\\u000ac\\u202ed\\u0085e\\u200bf')
  t.equal(printable('a\n\tb\r', { breaks: true }), 'a\n\tb\\u000d')
  t.equal(printable('Ünïcode 名 👩‍👧'), 'Ünïcode 名 👩‍👧')
  let message = ''
  try {
    checkOptions(v.picklist(['a']), hostile)
  } catch (error) {
    message = (error as Error).message
  }
  t.match(message, /got 'a\\u001b\[2Jb/)
  const url = await freshDatabase(t)
  const cwd = folder(t, { 'tenancy.config.json': JSON.stringify({ database: url }) })
  const manager = createManager({ database: url })
  await manager.init()
  await manager.create({ slug: 'acme' })
  await manager.close()
  // Bypasses the manager: rows that an older version or another writer left in the table.
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(
    'update tenancy.tenants set name = $1, plan = $1, settings = jsonb_build_object($1::text, $1::text)',
    [hostile]
  )
  await client.end()
  for (
    const argv of [['show', 'acme'], ['list'], ['show', 'acme', '--json'], ['list', '--json'], ['show',
      hostile], ['create', 'x', '--name', hostile], [hostile]]
  ) {
    const { stdout, stderr } = await run(cwd, ...argv)
    t.notMatch(stdout + stderr, /(?!\n)[\p{Cc}\u202e\u200b]/u, argv.join(' ').slice(0, 20))
    if (argv.includes('--json')) t.match(JSON.stringify(JSON.parse(stdout)), /2Jb/)
  }
})

t.test("EDG-14 the user's input is never frozen or changed", async t => {
  const state = { hits: 0, nested: { list: [1] } }
  const inner = memoryRegistry([{ id: '1', slug: 'acme' }])
  const registry = {
    state,
    findBySlug (slug: string) {
      this.state.hits++
      this.state.nested.list.push(1)
      return inner.findBySlug(slug)
    },
    findByDomain: inner.findByDomain.bind(inner),
    findById: inner.findById.bind(inner),
    list: inner.list.bind(inner),
    insert: inner.insert.bind(inner),
    update: inner.update.bind(inner)
  }
  const limits = { default: { rpm: 5 }, plans: { free: { rpm: 3 } }, tenants: {} }
  const { url } = await provision(t, { secret: false })
  const database = { url, pool: { max: 1 }, plugins: [] as never[] }
  const options = {
    baseDomain: 'example.com',
    database,
    registry,
    rateLimit: { limits },
    tables: { tenant: [] as string[], shared: ['countries'] },
    resolver: { reserved: ['www'], cache: { ttl: '1m' } },
    cache: { local: { ttl: '1s' } },
    routes: { off: ['/health'] }
  }
  const before = structuredClone({
    limits,
    tables: options.tables,
    resolver: options.resolver,
    cache: options.cache,
    routes: options.routes
  })
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, options as TenancyOptions)
  app.get('/', request => request.tenant.slug)
  t.equal((await app.inject({ url: '/', headers: { host: 'acme.example.com' } })).body, 'acme')
  const standalone = await createTenancy({ ...options, rateLimit: false } as TenancyOptions)
  t.teardown(() => standalone.close())
  const alone = Fastify()
  t.teardown(() => alone.close())
  await alone.register(tenantResolver, { baseDomain: 'example.com', registry })
  t.ok(state.hits > 0)
  const frozen: string[] = []
  const look = (value: unknown, path: string): void => {
    if (typeof value !== 'object' || value === null) return
    if (Object.isFrozen(value)) frozen.push(path)
    for (const [key, part] of Object.entries(value)) look(part, `${path}.${key}`)
  }
  look(options, 'options')
  t.same(frozen, [])
  t.same({
    limits,
    tables: options.tables,
    resolver: options.resolver,
    cache: options.cache,
    routes: options.routes
  }, before)
  const settings = { deep: { list: [1] } }
  t.ok(Object.isFrozen(toTenant({ id: 'a', slug: 'b', settings }).settings))
  t.notOk(Object.isFrozen(settings) || Object.isFrozen(settings.deep) || Object.isFrozen(settings.deep.list))
  const copies = checkOptions<string[][]>(v.array(v.array(v.string())), [['x']])
  t.ok(Object.isFrozen(copies[0]), 'control: our copies are frozen')
})
