// A separate process: one application that answers `{ hello: 'world' }`. `node server.ts <kind>`.
// Reports its port by IPC, and its CPU time on request.
import { memoryRegistry } from '@fastify-tenancy/core'
import { prometheus } from '@fastify-tenancy/telemetry'
import rateLimit from '@fastify/rate-limit'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import tenancy, { type TenancyOptions } from 'fastify-tenancy'
import { Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis, type RateLimiterAbstract,
  type RateLimiterRes } from 'rate-limiter-flexible'
import type { AddressInfo } from 'node:net'

import { pieces } from './pieces.ts'

const [kind = ''] = process.argv.slice(2)
const { BENCH_DATABASE = '', BENCH_REDIS = '' } = process.env
/** A limit that is never reached. */
const plenty = 1_000_000_000

const app = Fastify()
await prepare(app)
app.get('/', () => ({ hello: 'world' }))
await app.listen({ port: 0, host: '127.0.0.1' })
process.send?.((app.server.address() as AddressInfo).port)
process.on('message', () => {
  process.send?.(process.cpuUsage())
})
process.on('disconnect', () => process.exit())

async function prepare (app: FastifyInstance): Promise<void> {
  const [name, rpm] = kind.startsWith('denied ') ? [kind.slice('denied '.length), 1] : [kind, plenty]
  switch (name) {
    case 'bare':
      return
    case 'suite, no limits':
      return suite(app, {})
    case 'suite, Prometheus':
      await suite(app, {})
      prometheus(app)
      return
    case 'suite, local limiter':
      return suite(app, { rateLimit: { limits: { default: { rpm } } } })
    case 'suite, Redis limiter':
      return suite(app, { rateLimit: { limits: { default: { rpm } } }, redis: BENCH_REDIS })
    case 'suite, leased limiter':
      return suite(app, {
        rateLimit: { limits: { default: { rpm } }, precision: 'leased' },
        redis: BENCH_REDIS
      })
    case '@fastify/rate-limit, local':
      await app.register(rateLimit, { max: rpm, timeWindow: 60_000, keyGenerator: tenantOf })
      return
    case '@fastify/rate-limit, Redis':
      await app.register(rateLimit, {
        max: rpm,
        timeWindow: 60_000,
        keyGenerator: tenantOf,
        redis: new Redis(BENCH_REDIS, { connectTimeout: 500, maxRetriesPerRequest: 1 })
      })
      return
    case 'rate-limiter-flexible, local':
      return flexible(app, new RateLimiterMemory({ points: rpm, duration: 60 }))
    case 'rate-limiter-flexible, Redis':
      return flexible(
        app,
        new RateLimiterRedis({
          storeClient: new Redis(BENCH_REDIS),
          points: rpm,
          duration: 60,
          ...(rpm === 1 && { inMemoryBlockOnConsumed: 1 })
        })
      )
    default:
      if (pieces[name] === undefined) throw new Error(`no server of kind '${kind}'`)
      return pieces[name](app)
  }
}

async function suite (app: FastifyInstance, options: Partial<TenancyOptions>): Promise<void> {
  const registry = memoryRegistry(Array.from({ length: 10 }, (_, at) => ({ id: `id-${at}`, slug: `t${at}` })))
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: BENCH_DATABASE,
    registry,
    tables: { tenant: ['items'] },
    ...(options.redis !== undefined && { namespace: 'bench' }),
    ...options
  })
}

function tenantOf (request: FastifyRequest): string {
  return request.hostname
}

// As its documentation shows for a middleware, with the headers that the others send.
async function flexible (app: FastifyInstance, limiter: RateLimiterAbstract): Promise<void> {
  app.addHook('onRequest', async (request, reply) => {
    try {
      headers(await limiter.consume(request.hostname))
    } catch (refusal) {
      if (refusal instanceof Error) throw refusal
      headers(refusal as RateLimiterRes)
      return reply.header('retry-after', Math.ceil((refusal as RateLimiterRes).msBeforeNext / 1_000)).code(
        429
      ).send({ statusCode: 429, error: 'Too Many Requests', message: 'Rate limit exceeded' })
    }

    function headers ({ remainingPoints, msBeforeNext }: RateLimiterRes): void {
      reply.header('x-ratelimit-limit', limiter.points)
      reply.header('x-ratelimit-remaining', remainingPoints)
      reply.header('x-ratelimit-reset', Math.ceil(msBeforeNext / 1_000))
    }
  })
}
