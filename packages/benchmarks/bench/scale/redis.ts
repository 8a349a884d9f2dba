// What a request costs Redis: its CPU for a counted request and for a cached value, with few and
// with many tenants.
import Fastify, { type FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { openCache, resolveCacheOptions } from '@fastify-tenancy/cache'
import { toTenant } from '@fastify-tenancy/core'
import { RequestTenancy, resolveRouteTenancy, TenantScope } from '@fastify-tenancy/core/scope'
import { tenantRateLimit } from '@fastify-tenancy/rate-limit'
import { Redis } from 'ioredis'

import { startRedis } from '../../../../test/support/services.ts'
import { drive } from '../../src/workers.ts'
import { count, scopeOf, type PartTable } from './part.ts'

const inFlight = 32

export async function redis (isShort: boolean): Promise<PartTable> {
  const server = await startRedis()
  const client = new Redis(server.url)
  const rows: string[][] = []
  for (const tenants of isShort ? [1, 100] : [1, 10_000]) {
    for (const precision of ['exact', 'leased'] as const) {
      const app = Fastify()
      let turn = 0
      await app.register(tenantsByTurns(tenants, () => turn++))
      await app.register(tenantRateLimit, {
        limits: { default: { rpm: 1_000_000_000 } },
        redis: server.url,
        namespace: 'scale',
        precision
      })
      app.get('/', async () => 'ok')
      await app.ready()
      rows.push([`a request, ${precision}, ${count(tenants)} tenants`, ...await measured(client, () =>
        app.inject('/'))])
      await app.close()
    }
    const cache = openCache(resolveCacheOptions({ redis: server.url, namespace: 'scale', local: false }))
    await cache.start()
    const handles = Array.from(
      { length: tenants },
      (_, at) => cache.forScope(scopeOf(toTenant({ id: `id-${at}`, slug: `s-${at}` })))
    )
    for (const handle of handles) await handle.set('k', 'x'.repeat(100))
    let turn = 0
    rows.push([`a cached value of 100 bytes, ${count(tenants)} tenants`, ...await measured(client, async () =>
      handles[turn++ % tenants]?.get('k'))])
    await cache.close()
  }
  const { used_memory: memory = '0' } = await info(client, 'memory')
  const keys = await client.dbsize()
  client.disconnect()
  await server.stop()
  return {
    title: `one Redis, ${inFlight} calls in flight. At the end it had ${count(keys)} keys in ${
      (Number(memory) / 2 ** 20).toFixed(0)
    } MB.`,
    head: ['', 'CPU of Redis, µs', 'commands', 'a second'],
    rows
  }
}

/** Returns Redis' CPU and commands for each call, and the calls a second. */
async function measured (client: Redis, work: () => Promise<unknown>): Promise<string[]> {
  await work()
  const [cpuBefore, statsBefore] = [await info(client, 'cpu'), await info(client, 'stats')]
  let calls = 0
  const { perSecond = 0 } = await drive(inFlight, async () => {
    calls++
    await work()
  })
  const [cpuAfter, statsAfter] = [await info(client, 'cpu'), await info(client, 'stats')]
  const commands = Number(statsAfter['total_commands_processed']) -
    Number(statsBefore['total_commands_processed'])
  return [
    ((used(cpuAfter) - used(cpuBefore)) * 1e6 / calls).toFixed(1),
    (commands / calls).toFixed(2),
    perSecond.toFixed(0)
  ]
}

function used (cpu: Record<string, string>): number {
  return Number(cpu['used_cpu_user']) + Number(cpu['used_cpu_sys'])
}

async function info (client: Redis, section: string): Promise<Record<string, string>> {
  const text = await client.info(section)
  return Object.fromEntries(text.split('\r\n').map(line => line.split(':', 2) as [string, string]))
}

/** A resolver that gives each request the next tenant. */
function tenantsByTurns (many: number, next: () => number): FastifyPluginAsync {
  const tenants = Array.from({ length: many }, (_, at) => toTenant({ id: `id-${at}`, slug: `s-${at}` }))
  const plugin: FastifyPluginAsync = async app => {
    app.decorateRequest('tenancy')
    app.addHook('onRequest', async request => {
      const tenant = tenants[next() % many]
      if (tenant === undefined) throw new Error('there is at least one tenant')
      const tenancy = new RequestTenancy(resolveRouteTenancy(request.routeOptions.config.tenancy))
      tenancy.scope = new TenantScope(tenant, request.log)
      Object.assign(request, { tenancy })
    })
  }
  return fp(plugin, { name: '@fastify-tenancy/resolver', fastify: '5.x' })
}
