import '@fastify-tenancy/testing' // before the application, whose routes it records

/*:: import type { FastifyInstance } from 'fastify' */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
/*:: import type { TestContext } from 'node:test' */

import { buildApp } from '../src/app.js'
import { setUp } from '../src/set-up.js'
import config, { manager } from '../tenancy.config.js'

// The kit reads the log, and the terminal does not show it.
const unseen = { level: 'info', stream: { write () {} } }

/** Returns the application on a PGlite of its own, with the tenants acme and globex. */
export async function freshApp (t/*: TestContext */)/*: Promise<FastifyInstance> */ {
  const folder = await mkdtemp(join(tmpdir(), 'test-'))
  // #if !database
  const database = { url: `pglite://${folder}/data` }
  // #end
  // #if database
  const database = { url: `pglite://${folder}/registry`, tenants: { url: `pglite://${folder}/{database}` } }
  // #end
  // #if redis
  await setUp({ ...manager, database, redis: undefined })
  // The kit sends more requests than a plan allows.
  const app = await buildApp({ ...config, database, redis: undefined, rateLimit: false }, unseen)
  // #end
  // #if !redis
  await setUp({ ...manager, database })
  // The kit sends more requests than a plan allows.
  const app = await buildApp({ ...config, database, rateLimit: false }, unseen)
  // #end
  t.after(async () => {
    await app.close()
    await rm(folder, { recursive: true })
  })
  return app
}
