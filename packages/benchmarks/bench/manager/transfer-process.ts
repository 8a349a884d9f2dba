// One call of the manager in a separate process, which reports the time and its peak memory.
import { createManager } from '@fastify-tenancy/manager'

const { url, verb, folder } = JSON.parse(process.argv[2] ?? '') as {
  url: string
  verb: 'export' | 'import' | 'schema' | 'database'
  folder: string
}
const own = `create table notes (id bigint primary key, body text not null, amount numeric,
    created_at timestamptz not null)`
let pause = 0
const manager = createManager({
  database: {
    url,
    tenants: {
      url: `${url.slice(0, url.lastIndexOf('/')).replace(/\/\/.*@/, '//{database}:secret@')}/{database}`
    }
  },
  tables: { tenant: ['notes'] },
  provision: async ({ client }) => {
    await client.query(own)
  }
})
const start = performance.now()
if (verb === 'export') await manager.export({ slug: 'acme' }, { to: folder })
else if (verb === 'import') await manager.import(folder, { slug: 'copy', isolation: 'schema' })
else pause = (await manager.move({ slug: 'acme' }, { isolation: verb, pause: '10m' })).paused / 1_000
const seconds = (performance.now() - start) / 1_000
process.send?.({ seconds, pause, megabytes: process.resourceUsage().maxRSS / 1_024 })
await manager.close()
process.disconnect()
