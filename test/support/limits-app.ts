// A separate process with two applications on one Redis, with an exact and a leased limiter.
// Reports their ports.
import Fastify from 'fastify'
import type { AddressInfo } from 'node:net'

import rateLimit from '@fastify-tenancy/rate-limit'

import { stubResolver, tenant } from '../rate-limit/app.ts'

const { port, limits } = JSON.parse(process.argv[2] ?? '') as { port: number; limits: Record<string, number> }

async function start (precision: 'exact' | 'leased'): Promise<number> {
  const app = Fastify({ forceCloseConnections: true })
  const tenants = Object.fromEntries(Object.keys(limits).map(slug => [slug, tenant(slug)]))
  await app.register(stubResolver(tenants))
  await app.register(rateLimit, {
    precision,
    redis: { host: '127.0.0.1', port, keyPrefix: `${precision}:`, namespace: 'test' },
    limits: { tenants: Object.fromEntries(Object.entries(limits).map(([slug, rpm]) => [slug, { rpm }])) }
  })
  app.get('/', async () => ({}))
  app.get('/free', { config: { tenancy: { cost: 0 } } }, async () => ({}))
  app.get('/health', { config: { tenancy: 'off' } }, async () => app.tenantRateLimit.health())
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

process.send?.(await Promise.all([start('exact'), start('leased')]))
process.on('disconnect', () => process.exit())
