// What the kit could not try is a failure, so that "0 leaks of 0 routes" cannot look green.
import { assertIsolated, type IsolationOptions, type IsolationReport } from '@fastify-tenancy/testing'
import Fastify, { type FastifyInstance } from 'fastify'
import tenancy, { type TenancyOptions } from 'fastify-tenancy'
import t, { type Test } from 'tap'

import { newPair, openWorld, secret, tables, type World } from './kit-world.ts'

// Each test has its own tenants.
const world = await openWorld(t)

async function small (
  t: Test,
  world: World,
  routes: (app: FastifyInstance) => void,
  options: Partial<TenancyOptions> = {}
): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: world.url,
    rls: { secret },
    tables,
    ...options
  })
  app.get(
    '/projects',
    async request => request.db.selectFrom('projects' as never).selectAll().limit(5).execute()
  )
  routes(app)
  return app
}

async function reportOf (
  app: FastifyInstance,
  world: World,
  options: Partial<IsolationOptions> = {}
): Promise<IsolationReport> {
  return assertIsolated(app, { ...await newPair(world), ...options }).catch(
    (error: { report?: IsolationReport }) => {
      if (error.report === undefined) throw error
      return error.report
    }
  )
}

type Rows = Readonly<Record<string, Readonly<Record<string, unknown>>>>

function byId (rows: Rows): object {
  return { id: rows['projects']?.['id'] }
}

function byQuery (rows: Rows): object {
  return { query: `{ project(id: "${String(rows['projects']?.['id'])}") { name } }` }
}

function undescribed (app: FastifyInstance): void {
  app.post('/graphql', async () => ({ data: null }))
}

function guarded (app: FastifyInstance): void {
  app.get('/secret', {
    preHandler: async (request, reply) => {
      if (request.headers.authorization === undefined) await reply.code(401).send({ error: 'Unauthorized' })
    }
  }, async request => request.db.selectFrom('projects' as never).selectAll().limit(5).execute())
}

function openTo (app: FastifyInstance): void {
  app.get(
    '/open',
    { config: { tenancy: { agreement: false } } },
    async request => request.db.selectFrom('projects' as never).selectAll().limit(5).execute()
  )
}

function claim (
  request: { readonly headers: { readonly authorization?: string | undefined } }
): string | undefined {
  return request.headers.authorization
}

function authenticate (tenant: { readonly id: string }): Record<string, string> {
  return { authorization: tenant.id }
}

t.test('ISO-KIT a body that no schema describes is not tried, until an example is given', async t => {
  const routes = undescribed
  await t.rejects(assertIsolated(await small(t, world, routes), await newPair(world)), {
    name: 'AssertionError',
    message: /POST \/graphql was not tried: its body is described by no schema/,
    report: { notTried: [{ name: 'POST /graphql', reason: /no schema/ }] }
  })
  const example = {
    'POST /graphql': {
      body: byId
    }
  }
  t.same((await reportOf(await small(t, world, routes), world, { routes: example })).notTried, [])
  await t.rejects(
    reportOf(await small(t, world, routes), world, { routes: { 'POST /grpahql': {} } }),
    /no such route/
  )
})

t.test("ISO-KIT a leak behind an example with the victim's own rows is found", async t => {
  const app = await small(t, world, app => {
    app.post<{ Body: { query: string } }>('/graphql', async ({ body }) => {
      const [, id] = /project\(id: "(.+)"\)/.exec(body.query) ?? []
      return {
        data: (await world.pool.query('select name from projects where id::text = $1', [id ?? ''])).rows
      }
    })
  })
  t.match(
    String(await reportOf(app, world, { routes: { 'POST /graphql': { body: byQuery } } })),
    /POST \/graphql leaks .* \(projects\.name\) in the body/
  )
})

t.test('ISO-KIT a route that lets nobody in is not tried, until authenticate proves who asks', async t => {
  const routes = guarded
  const report = await reportOf(await small(t, world, routes), world)
  t.match(report.notTried, [{ name: 'GET /secret', reason: /the answers were 401: give authenticate/ }, {
    name: 'HEAD /secret'
  }])
  const open = await small(t, world, routes, { resolver: { claim } })
  t.match(String(await reportOf(open, world, { authenticate })), /^0 leaks, 0 not tried/)
})

t.test("ISO-KIT a header that names the tenant is tried against the attacker's own claim", async t => {
  const report = await reportOf(
    await small(t, world, openTo, { resolver: { strategies: ['header', 'subdomain'], claim } }),
    world,
    { authenticate }
  )
  t.match(String(report), /GET \/open leaks /, 'its host and claim need not agree')
  t.notMatch(String(report), /GET \/projects leaks /)
})

t.test('ISO-KIT an application that shows nobody anything proves nothing', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, { baseDomain: 'example.com', database: world.url, rls: { secret }, tables })
  app.get('/ping', async () => 'pong')
  t.match((await reportOf(app, world)).notTried, [{
    name: 'routes',
    reason: /no route showed the victim a value of its own/
  }])
})

t.test('ISO-KIT requests that the limiter refused, and a tenant that does not exist, are named', async t => {
  const app = await small(t, world, app => {
    app.get('/last', async () => 'pong')
  }, { rateLimit: { limits: { default: { rpm: 8 } } } })
  const { notTried } = await reportOf(app, world)
  t.ok(notTried.some(({ reason }) => /register it without rateLimit/.test(reason)), JSON.stringify(notTried))
  await t.rejects(
    assertIsolated(app, { victim: { slug: 'nobody' }, attacker: { slug: 'nobody' } }),
    /the victim .* does not exist/
  )
})
