// Issue 5: a value of 230 bytes in the process-local tier before Redis, against bentocache's two
// tiers.
import type { TenantCacheHandle } from '@fastify-tenancy/cache'

import { repeatAsync } from '../../src/micro.ts'
import { race, type Contender } from '../../src/race.ts'
import { report, markdownTable, versions } from '../../src/report.ts'
import { anyKey, keys, openCaches, value } from './caches.ts'

const caches = await openCaches()
const [ours] = await caches.ours('1h', 1) as [TenantCacheHandle]
const bento = caches.bento(true)
const dedupe = caches.dedupe(true, () => value)
const load = (): unknown => value
for (const key of keys) {
  // Twice, because a loaded value goes to Redis, and reading it from there keeps it in process.
  await ours.wrap(key, load)
  await ours.wrap(key, load)
  await bento.wrap(key, load)
  await dedupe(key)
}
const text = JSON.stringify(value)

// bentocache is the baseline, so that a ratio below 1 is a gain.
const contender = (name: string, work: () => Promise<unknown>): Contender => ({
  name,
  run: async () => {
    const { each = Number.NaN } = await repeatAsync(work)
    return { each, perSecond: 1e6 / each }
  }
})
const result = await race(contender('bentocache getOrSet', () => bento.wrap(anyKey(), load)), [
  contender('wrap', () => ours.wrap(anyKey(), load)),
  contender('get', () => ours.get(anyKey())),
  contender('async-cache-dedupe, in process only', () => dedupe(anyKey())),
  contender('JSON.parse alone', async () => JSON.parse(text))
])
await caches.stop()
report(
  'local-cache',
  `${
    markdownTable(result, [{ figure: 'each', title: 'µs' }, {
      figure: 'perSecond',
      title: 'calls/s',
      digits: 0
    }], [
      { name: 'wrap', figure: 'perSecond', atLeast: 5 }
    ])
  }\n\n${versions('bentocache', 'async-cache-dedupe').join(', ')}`
)
process.exit()
