// Issue 5: `get` of a value of 230 bytes in Redis, sequentially and 16 in flight, against GET and
// JSON.parse by hand.
import type { TenantCacheHandle } from '@fastify-tenancy/cache'

import { race, type Contender } from '../../src/race.ts'
import { report, markdownTable, versions } from '../../src/report.ts'
import { drive } from '../../src/workers.ts'
import { anyKey, keys, openCaches, value } from './caches.ts'

const caches = await openCaches()
const raw = caches.raw(false)
const pipelined = caches.raw(true)
const tenants = await caches.ours(false, 16)
const [ours] = tenants as [TenantCacheHandle]
let turn = 0
const next = (): TenantCacheHandle => tenants[turn++ % tenants.length] as TenantCacheHandle
const bento = caches.bento(false)
const dedupe = caches.dedupe(false, () => value)
for (const key of keys) {
  await raw.set(key, JSON.stringify(value))
  for (const tenant of tenants) await tenant.set(key, value)
  await bento.wrap(key, () => value)
  await dedupe(key)
}

const tables: string[] = []
for (const inFlight of [1, 16]) {
  const contender = (name: string, work: () => Promise<unknown>): Contender => ({
    name,
    run: () => drive(inFlight, work)
  })
  const result = await race(contender('ioredis GET', async () => JSON.parse(await raw.get(anyKey()) ?? '')), [
    contender('ioredis GET, auto-pipelined', async () => JSON.parse(await pipelined.get(anyKey()) ?? '')),
    contender('get', () => ours.get(anyKey())),
    contender('get, 16 tenants in turn', () => next().get(anyKey())),
    contender('wrap', () => ours.wrap(anyKey(), () => value)),
    contender('bentocache get', () => bento.get(anyKey())),
    contender('bentocache getOrSet', () => bento.wrap(anyKey(), () => value)),
    contender('async-cache-dedupe', () => dedupe(anyKey()))
  ])
  tables.push(`**${inFlight} in flight**\n\n${
    markdownTable(result, [
      { figure: 'perSecond', title: 'calls/s', digits: 0 },
      { figure: 'clientCpu', title: 'CPU µs/call', digits: 1 }
    ], [{ name: 'get', figure: 'perSecond', atLeast: 0.9 }, {
      name: 'get, 16 tenants in turn',
      figure: 'perSecond',
      atLeast: 0.9
    }, { name: 'get', figure: 'perSecond', atLeast: 0.9, against: 'ioredis GET, auto-pipelined' }])
  }`)
}
await caches.stop()
report(
  'cache',
  `${tables.join('\n\n')}\n\n${versions('bentocache', 'async-cache-dedupe').join(', ')}, Redis on loopback`
)
process.exit()
