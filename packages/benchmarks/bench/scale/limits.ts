// A limits file with 100,000 tenants: how long it takes to read, how long the event loop stands
// still, and what it holds.
import Fastify, { type FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { tenantRateLimit } from '@fastify-tenancy/rate-limit'
import { toTenant } from '@fastify-tenancy/core'
import { RequestTenancy, resolveRouteTenancy, TenantScope } from '@fastify-tenancy/core/scope'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'

import { temporaryFolder } from '../../../../test/support/services.ts'
import { count, heap, timed, type PartTable } from './part.ts'

export async function limits (isShort: boolean): Promise<PartTable> {
  const entries = isShort ? 1_000 : 100_000
  const folder = temporaryFolder()
  const rows: string[][] = []
  for (const name of ['limits.json', 'limits.yaml']) {
    const file = join(folder, name)
    writeFileSync(file, textOf(entries, name, 100))
    const before = heap()
    const app = Fastify({ pluginTimeout: 0 }) // its default of 10 s is too short on a busy machine
    await app.register(oneTenant(`s-${entries - 1}`))
    const boot = await timed(async () => app.register(tenantRateLimit, { file })) // reads the file
    app.get('/', async () => 'ok')
    await app.ready()
    const megabytes = heap() - before
    const delays = monitorEventLoopDelay({ resolution: 1 })
    delays.enable()
    writeFileSync(file, textOf(entries, name, 200))
    const seen = await timed(async () => {
      while ((await app.inject('/')).headers['x-ratelimit-limit'] !== '200')
        await new Promise(resolve => setTimeout(resolve, 10))
    })
    delays.disable()
    rows.push([
      name,
      (Buffer.byteLength(textOf(entries, name, 100)) / 2 ** 20).toFixed(1),
      boot.toFixed(0),
      megabytes.toFixed(1),
      seen.toFixed(0),
      (delays.max / 1e6).toFixed(0)
    ])
    await app.close()
  }
  rmSync(folder, { recursive: true })
  return {
    title: `a limits file with ${count(entries)} tenants`,
    head: ['', 'file, MB', 'read at boot, ms', 'heap, MB', 'a change is in force after, ms',
      'longest pause of the event loop meanwhile, ms'],
    rows
  }
}

function textOf (entries: number, name: string, rpm: number): string {
  const slugs = Array.from({ length: entries }, (_, at) => `s-${at}`)
  return name.endsWith('.json')
    ? `{"tenants":{${slugs.map(slug => `"${slug}":{"rpm":${rpm}}`).join(',\n')}}}`
    : `tenants:\n${slugs.map(slug => `  ${slug}: { rpm: ${rpm} }`).join('\n')}\n`
}

/** A resolver that finds one tenant for each request. */
function oneTenant (slug: string): FastifyPluginAsync {
  const tenant = toTenant({ id: 'the-one', slug })
  const plugin: FastifyPluginAsync = async app => {
    app.decorateRequest('tenancy')
    app.addHook('onRequest', async request => {
      const tenancy = new RequestTenancy(resolveRouteTenancy(request.routeOptions.config.tenancy))
      tenancy.scope = new TenantScope(tenant, request.log)
      Object.assign(request, { tenancy })
    })
  }
  return fp(plugin, { name: '@fastify-tenancy/resolver', fastify: '5.x' })
}
