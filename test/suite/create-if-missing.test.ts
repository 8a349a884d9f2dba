// Tenants that are created at their first request, only from verified credentials and only where
// the option allows it.
import { createManager } from '@fastify-tenancy/manager'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import tenancy, { type TenancyOptions } from 'fastify-tenancy'
import t, { type Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'

const claim = (request: FastifyRequest): string | undefined => (request as { org?: string }).org

interface World {
  readonly app: FastifyInstance
  readonly created: string[]
  slugs(): Promise<string[]>
  ask(url: string, headers: Record<string, string>): Promise<string>
}

async function start (
  t: Test,
  resolver: (create: (slug: string) => Promise<unknown>) => TenancyOptions['resolver'],
  hosts: { baseDomain?: string } = {}
): Promise<World> {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  const manager = createManager({ database: url })
  t.teardown(() => manager.close())
  await manager.init()
  const created: string[] = []
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, {
    ...hosts,
    database: url,
    resolver: resolver(slug => {
      created.push(slug)
      return manager.create({ slug })
    }) ?? {}
  })
  // Stands for the application's authentication.
  app.addHook('onRequest', async request => {
    Object.assign(request, { org: request.headers.authorization })
  })
  app.get('/', request => ({ slug: request.tenant.slug }))
  app.get(
    '/open',
    { config: { tenancy: 'optional' } },
    request => ({ slug: request.tenant?.slug ?? 'nobody' })
  )
  return {
    app,
    created,
    slugs: async () =>
      (await admin.query<{ slug: string }>('select slug from tenancy.tenants order by slug')).rows.map((
        { slug }
      ) => slug),
    async ask (path, headers) {
      const body: { slug?: string; code?: string } = (await app.inject({ url: path, headers })).json()
      return body.slug ?? body.code ?? ''
    }
  }
}

t.test('LIF-16 by default no request makes a tenant: by host, header, path, claim', async t => {
  for (const strategies of [['subdomain', 'domain'], ['header'], ['claim']] as const) {
    const { ask, slugs } = await start(t, () => ({ strategies: [...strategies], claim }), {
      baseDomain: 'example.com'
    })
    for (let again = 0; again < 3; again++)
      await ask('/', { host: 'newcomer.example.com', 'x-tenant': 'newcomer', authorization: 'newcomer' })
    t.same(await slugs(), [], strategies.join())
  }
})

t.test('LIF-16 with createIfMissing only a verified claim creates its tenant, once', async t => {
  const { ask, slugs } = await start(
    t,
    create => ({ strategies: ['subdomain', 'header', 'claim'], claim, createIfMissing: create }),
    { baseDomain: 'example.com' }
  )
  t.equal(
    await ask('/', { host: 'newcomer.example.com', authorization: 'newcomer' }),
    'FST_TENANCY_TENANT_UNKNOWN',
    'the host is checked first, and any client can make one up'
  )
  t.equal(await ask('/', { host: 'newcomer.example.com' }), 'FST_TENANCY_TENANT_UNKNOWN')
  t.equal(
    await ask('/', { host: 'example.com', 'x-tenant': 'newcomer', authorization: 'newcomer' }),
    'FST_TENANCY_TENANT_UNKNOWN'
  )
  t.same(await slugs(), [])
})

t.test('LIF-16 a claim creates one tenant, and unverified or invalid claims create none', async t => {
  const { ask, slugs, created } = await start(
    t,
    create => ({ strategies: ['claim'], claim, createIfMissing: create })
  )
  t.equal(await ask('/', { authorization: 'acme' }), 'acme', 'also when it was unknown a moment ago')
  t.same(
    await Promise.all(Array.from({ length: 20 }, () => ask('/', { authorization: 'globex' }))),
    Array.from({ length: 20 }, () => 'globex')
  )
  t.same(created, ['acme', 'globex'])
  t.equal(await ask('/open', { authorization: 'initech' }), 'nobody')
  await ask('/nowhere', { authorization: 'initech' })
  t.equal(await ask('/', {}), 'FST_TENANCY_TENANT_MISMATCH')
  for (const name of ['www', 'a b', 'x'.repeat(64), '../..', ''])
    t.match(await ask('/', { authorization: name }), /^FST_TENANCY_TENANT_(?:UNKNOWN|MISMATCH)$/, name)
  t.same(await slugs(), ['acme', 'globex'])
})

t.test('createIfMissing without the strategy claim stops the boot', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await t.rejects(
    async () =>
      app.register(tenancy, {
        baseDomain: 'example.com',
        database: 'pglite://memory',
        resolver: { claim, createIfMissing: async () => {} }
      }),
    { code: 'FST_TENANCY_OPTION_INVALID', message: /createIfMissing needs the strategy 'claim'/ }
  )
})
