// An export in a separate process, which reports how much its live memory grew in the middle.
import { createManager } from '@fastify-tenancy/manager'

import { fixtureOptions } from '../manager/manager-fixture.ts'

const { superUrl, id, to } = JSON.parse(process.argv[2] ?? '') as { superUrl: string; id: string; to: string }
const alive = (): number => {
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
let before = 0
let most = 0
let seen = 0
const manager = createManager({
  ...fixtureOptions(superUrl),
  progress ({ done = 0 }) {
    // The first chunks warm up.
    if (done < seen + 5_000) return
    seen = done
    if (before === 0) before = alive()
    else most = Math.max(most, alive())
  }
})
const { tables } = await manager.export({ id }, { to })
await manager.close()
const { rows, bytes } = tables.find(({ name }) => name === 'labels') ?? { rows: 0, bytes: 0 }
process.send?.({ rows, bytes, grown: most - before })
process.disconnect()
