// Moves acme from the shared tables to a schema and to a database, while a client writes to it.
import { buildApp } from './app.ts'
import { moveWhileServed } from './move-while-served.ts'
import { optionsOf, setUp } from './options.ts'

const { DATABASE_URL = 'pglite://memory', SECRET = 'a secret for trying it out, 32 characters' } = process.env
const options = optionsOf(DATABASE_URL, SECRET)
const manager = await setUp(options)
const app = await buildApp(options, false)
// A tenant cannot be locked out of an embedded database of its own, so it cannot leave that one
// while it is served.
const targets = ['schema', 'database', 'rls'] as const
for (const isolation of DATABASE_URL.startsWith('pglite:') ? targets.slice(0, 2) : targets) {
  const { written, postponed, paused } = await moveWhileServed(app, manager, 'acme', { isolation })
  console.log(
    `acme to ${isolation}: ${written} rows written, ${postponed} requests postponed, paused ${paused} ms`
  )
}
const reply = await app.inject({ url: '/projects', headers: { host: 'acme.localhost' } })
console.log(`${reply.json<{ projects: object[] }>().projects.length} rows are there`)
await app.close()
await manager.close()
await options.close()
