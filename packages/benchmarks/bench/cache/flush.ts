// Issue 5: flushing one tenant of a thousand with a thousand values each. `-- <tenants> <values>`
// for other numbers.
import { openCache, resolveCacheOptions } from '@fastify-tenancy/cache'
import { toTenant } from '@fastify-tenancy/core'
import { tenantKey } from '@fastify-tenancy/core/keys'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openRedis } from '@fastify-tenancy/redis'
import { Redis } from 'ioredis'

import { startRedis } from '../../../../test/support/services.ts'
import { quantile } from '../../src/race.ts'
import { markdown, report } from '../../src/report.ts'

const [tenants = 1_000, values = 1_000] = process.argv.slice(2).filter(argument => !argument.startsWith('--'))
  .map(Number)
const silent = { info () {}, warn () {}, error () {} }
const server = await startRedis()
const redis = new Redis(server.url)
const cache = openCache(
  resolveCacheOptions({
    redis: openRedis({ host: '127.0.0.1', port: server.port, commandTimeout: 10_000 }),
    ttl: '1h'
  })
)
await cache.start()

const handles = Array.from(
  { length: tenants },
  (_, at) => cache.forScope(new TenantScope(toTenant({ id: `tenant-${at}`, slug: `t${at}` }), silent))
)
for (const handle of handles)
  await Promise.all(Array.from({ length: values }, (_, at) => handle.set(`key:${at}`, { at })))

async function measured (work: (tenant: number) => Promise<unknown>, times: number): Promise<string[]> {
  const took: number[] = []
  let commands = 0
  for (let turn = 0; turn < times; turn++) {
    const before = await processed()
    const start = performance.now()
    await work(turn)
    took.push(performance.now() - start)
    commands = await processed() - before - 1 // without the INFO that counts
  }
  const sorted = took.toSorted((a, b) => a - b)
  return [quantile(sorted, 0.5).toFixed(2), (sorted.at(-1) ?? Number.NaN).toFixed(2), `${commands}`]
}

async function processed (): Promise<number> {
  return Number(/total_commands_processed:(\d+)/.exec(await redis.info('stats'))?.[1])
}

const flush = await measured(async tenant => handles[tenant]?.flush(), Math.min(20, tenants))
if (await handles[0]?.get('key:0') !== undefined) throw new Error('a value outlived its flush')
const scan = await measured(async turn => {
  const match = tenantKey(`tenant-${tenants - 1 - turn}`, 'cache', '*')
  for await (const found of redis.scanStream({ match, count: 1_000 }) as AsyncIterable<string[]>) {
    if (found.length > 0) await redis.unlink(...found)
  }
}, Math.min(3, tenants))
report(
  'flush',
  `${
    markdown(['', 'median ms', 'longest ms', 'commands'], [['flush()', ...flush], ['SCAN and UNLINK, by hand',
      ...scan]])
  }\n\n${tenants} tenants with ${values} values each. Target: one command, under 1 ms: ${
    Number(flush[0]) < 1 && flush[2] === '1' ? '✓' : '**missed**'
  }`
)
redis.disconnect()
await cache.close()
await server.stop()
process.exit()
