// One application with popular plugins, in the order of
// packages/fastify-tenancy/docs/plugins-and-order.md.
import compress from '@fastify/compress'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import proxy from '@fastify/http-proxy'
import jwt from '@fastify/jwt'
import multipart from '@fastify/multipart'
import { FastifyOtelInstrumentation } from '@fastify/otel'
import session from '@fastify/session'
import files from '@fastify/static'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import underPressure from '@fastify/under-pressure'
import websocket from '@fastify/websocket'
import { memoryRegistry } from '@fastify-tenancy/core'
import { openTelemetry, prometheus } from '@fastify-tenancy/telemetry'
import { Controller, Get, Module, Req } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter } from '@nestjs/platform-fastify'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { initTRPC } from '@trpc/server'
import { fastifyTRPCPlugin } from '@trpc/server/adapters/fastify'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import metrics from 'fastify-metrics'
import tenancy, { toHttpError } from 'fastify-tenancy'
import mercurius from 'mercurius'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import t from 'tap'
import { WebSocket } from 'ws'

import { dbOf, noteRoutes, tenants } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'

const bodies = async (request: { db: unknown }): Promise<string[]> =>
  (await dbOf(request).selectFrom('notes').select('body').orderBy('id').execute()).map(({ body }) => body)

// Nest's decorators, called by hand: Node strips types, and decorators are none.
class NotesController {
  list (request: FastifyRequest): Promise<string[]> {
    return bodies(request)
  }
}
Controller('nest')(NotesController)
Get('notes')(
  NotesController.prototype,
  'list',
  Object.getOwnPropertyDescriptor(NotesController.prototype, 'list')!
)
Req()(NotesController.prototype, 'list', 0)
class NotesModule {
  readonly name = 'notes'
}
Module({ controllers: [NotesController] })(NotesModule)

const on = await provision(t)
const exporter = new InMemorySpanExporter()
const folder = mkdtempSync(join(tmpdir(), 'tenancy-static-'))
writeFileSync(join(folder, 'page.txt'), 'a file of all tenants')
const upstream = createServer((request, response) =>
  response.end(`upstream ${request.headers['x-tenant'] ?? ''}`)
)
await new Promise<void>(resolve => {
  upstream.listen(0, '127.0.0.1', resolve)
})
const app = await start()
t.teardown(async () => {
  await app.close()
  upstream.close()
  rmSync(folder, { recursive: true })
})

async function start (): Promise<FastifyInstance> {
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
  const otel = new FastifyOtelInstrumentation()
  otel.setTracerProvider(provider)
  const app = Fastify()
  // 1. What every reply needs, refusals too.
  await app.register(otel.plugin())
  await app.register(cors, { origin: true })
  await app.register(helmet)
  await app.register(compress)
  await app.register(underPressure, { maxEventLoopDelay: 60_000 })
  await app.register(metrics.default, { endpoint: '/app-metrics' })
  // 2. The suite, before everything that makes routes.
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: on.url,
    tables: on.tables,
    rls: { secret: on.secret ?? '' },
    registry: memoryRegistry(tenants),
    rateLimit: { limits: { default: { rpm: 10_000 } } },
    // The first was made before the suite.
    routes: { off: ['/app-metrics', '/documentation/*', '/public/*', '/metrics'] }
  })
  const { registry } = prometheus(app, { registry: new Registry() })
  app.addHook('onClose', async () => stopSpans())
  const stopSpans = openTelemetry({ tracer: provider.getTracer('test') })
  // 3. Who the client is: cookies and tokens of one tenant, checked against the tenant of the host.
  await app.register(cookie)
  await app.register(session, {
    secret: 'a secret of the tests, 32 characters and more',
    cookie: { secure: false }
  })
  await app.register(jwt, { secret: 'secret' })
  // 4. Bodies, files, documentation, sockets, upstreams.
  await app.register(multipart)
  await app.register(files, { root: folder, prefix: '/public/' })
  await app.register(swagger, { openapi: { info: { title: 'plugins', version: '1' } } })
  await app.register(swaggerUi, { routePrefix: '/documentation' })
  await app.register(websocket)
  await app.register(proxy, {
    upstream: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`,
    prefix: '/upstream',
    replyOptions: {
      rewriteRequestHeaders: (request, headers) => ({
        ...headers,
        'x-tenant': (request as FastifyRequest).tenant.id
      })
    }
  })
  // 5. Servers that make their own replies: give them toHttpError().
  const trpc = initTRPC.context<{ request: FastifyRequest }>().create({
    errorFormatter: ({ shape, error }) => ({ ...shape, message: (toHttpError(error) as Error).message })
  })
  await app.register(fastifyTRPCPlugin, {
    prefix: '/trpc',
    trpcOptions: {
      router: trpc.router({ notes: trpc.procedure.query(({ ctx }) => bodies(ctx.request)) }),
      createContext: ({ req }: { req: FastifyRequest }) => ({ request: req })
    }
  })
  await app.register(mercurius, {
    schema: 'type Query { notes: [String!]! }',
    resolvers: {
      Query: {
        notes: (_: unknown, __: unknown, { reply }: { reply: { request: FastifyRequest } }) =>
          bodies(reply.request)
      }
    }
  })
  // 6. The application's own routes.
  noteRoutes(app)
  app.get('/metrics', async () => registry.metrics())
  app.get('/session', async request => {
    const { session, tenant } = request as FastifyRequest & { session: { tenant?: string } }
    // A cookie of one host is sent to that host alone; what it holds is checked all the same.
    if (session.tenant !== undefined && session.tenant !== tenant.id) return { refused: true }
    session.tenant = tenant.id
    return { tenant: session.tenant }
  })
  app.get('/jwt', {
    preHandler: async (request: FastifyRequest, reply) => {
      const { tenant } = await request.jwtVerify<{ tenant: string }>()
      if (tenant !== request.tenant.id) return reply.code(403).send({ refused: true })
    }
  }, async request => bodies(request))
  app.post('/upload', async request => {
    const file = await request.file()
    await dbOf(request).insertInto('notes').values({ body: (await file?.toBuffer())?.toString() ?? '' })
      .execute()
    return bodies(request)
  })
  app.get('/big', async request => (await bodies(request)).join(' ').padEnd(5_000, '.'))
  app.get('/socket', { websocket: true }, (socket, request) => {
    const { db } = request.tenancy.detach()
    socket.on('message', () => void bodies({ db }).then(rows => socket.send(JSON.stringify(rows))))
  })
  // 7. Nest last: it adds its routes to the same instance.
  const nest = await NestFactory.create(NotesModule, new FastifyAdapter(app as never), {
    logger: false,
    bodyParser: false
  })
  await nest.init()
  await app.listen({ port: 0, host: '127.0.0.1' })
  for (const slug of ['acme', 'globex'])
    await app.tenancy.run(
      { slug },
      ({ db }) => dbOf({ db }).insertInto('notes').values({ body: slug }).execute()
    )
  return app
}

const get = async (slug: string, url: string, headers: Record<string, string> = {}) =>
  await app.inject({ url, headers: { host: `${slug}.example.com`, ...headers } })

t.test('ORD-01 each plugin serves each tenant its own rows', async t => {
  for (const slug of ['acme', 'globex']) {
    t.match((await get(slug, '/notes')).json(), [{ body: slug }])
    t.same((await get(slug, '/nest/notes')).json(), [slug], 'Nest')
    t.same((await get(slug, '/trpc/notes')).json(), { result: { data: [slug] } }, 'tRPC')
    t.same((await get(slug, '/graphql?query={notes}')).json(), { data: { notes: [slug] } }, 'mercurius')
    t.equal((await get(slug, '/upstream/')).body, `upstream id-${slug}`, 'http-proxy')
    const token = app.jwt.sign({ tenant: `id-${slug}` })
    t.same((await get(slug, '/jwt', { authorization: `Bearer ${token}` })).json(), [slug])
    t.equal((await get('stark', '/jwt', { authorization: `Bearer ${token}` })).statusCode, 403)
    const first = await get(slug, '/session')
    const cookies = { cookie: `sessionId=${first.cookies[0]?.value ?? ''}` }
    t.same((await get(slug, '/session', cookies)).json(), { tenant: `id-${slug}` })
    t.same((await get('stark', '/session', cookies)).json(), { refused: true })
    const big = await get(slug, '/big', { 'accept-encoding': 'gzip' })
    t.equal(big.headers['content-encoding'], 'gzip')
    const socket = new WebSocket(`ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/socket`, {
      headers: { host: `${slug}.example.com` }
    })
    t.equal(
      await new Promise(resolve => {
        socket.on('open', () => socket.send('?')).on('message', (data: Buffer) => resolve(data.toString()))
      }),
      JSON.stringify([slug]),
      'websocket'
    )
    socket.close()
  }
  const boundary = 'xxx'
  const upload = await app.inject({
    method: 'POST',
    url: '/upload',
    headers: { host: 'hooli.example.com', 'content-type': `multipart/form-data; boundary=${boundary}` },
    payload: `--${boundary}\r\ncontent-disposition: form-data; name="f"; ` +
      `filename="f"\r\n\r\nhooli\r\n--${boundary}--\r\n`
  })
  t.same(upload.json(), ['hooli'], 'multipart')
})

t.test('ORD-02 routes of plugins that are off need no tenant, and all others refuse without one', async t => {
  for (
    const url of ['/documentation/json', '/documentation/', '/public/page.txt', '/metrics', '/app-metrics']
  )
    t.equal((await get('nobody', url)).statusCode, 200, url)
  for (
    const url of ['/notes', '/nest/notes', '/trpc/notes', '/graphql?query={notes}', '/upstream/', '/session',
      '/nowhere']
  )
    t.equal((await get('nobody', url)).statusCode, 404, url)
})

t.test(
  'ORD-03 a refusal carries the headers of plugins that come first, and a preflight needs no ' +
    'tenant',
  async t => {
    const refused = await get('nobody', '/notes', { origin: 'https://x.example' })
    t.equal(refused.headers['access-control-allow-origin'], 'https://x.example', 'cors')
    t.ok(refused.headers['content-security-policy'], 'helmet')
    const preflight = await app.inject({
      method: 'OPTIONS',
      url: '/notes',
      headers: {
        host: 'nobody.example.com',
        origin: 'https://x.example',
        'access-control-request-method': 'POST'
      }
    })
    t.equal(preflight.statusCode, 204)
  }
)

t.test('ORD-04 both kinds of metrics count, and spans of requests name the tenant', async t => {
  const suite = (await get('acme', '/metrics')).body
  t.match(suite, /tenancy_requests_total\{tenant="id-acme",class="2xx"\} [1-9]/)
  t.match(suite, /tenancy_refusals_total\{code="FST_TENANCY_TENANT_UNKNOWN"\} [1-9]/)
  t.match((await get('acme', '/app-metrics')).body, /http_request_duration_seconds_count/)
  const spans = exporter.getFinishedSpans()
  const requests = spans.filter(({ name }) => name === 'request')
  t.ok(requests.some(({ attributes }) => attributes['tenant.id'] === 'id-acme'), 'the span of @fastify/otel')
  const statement = spans.find(({ attributes }) => attributes['db.system.name'] === 'postgresql')
  t.ok(statement)
})
