import type { FastifyInstance } from 'fastify'

import { buildApp } from '../src/app.ts'
import { optionsOf, setUp } from '../src/options.ts'
import type { Queue } from '../src/job.ts'
import { openQueue } from '../src/queue.ts'

export interface World {
  readonly app: FastifyInstance
  readonly queue: Queue
  readonly options: ReturnType<typeof optionsOf>
  close(): Promise<void>
}

/** Opens the application and its queue, on a database of the test. */
export async function world (redisUrl?: string): Promise<World> {
  const secret = 'a secret of the tests, 32 characters'
  const settings = { databaseUrl: process.env.DATABASE_URL ?? 'pglite://memory', redisUrl, secret }
  const options = optionsOf(settings)
  await setUp(options)
  const queue = await openQueue(settings, options)
  const app = await buildApp(options, queue, false)
  return {
    app,
    queue,
    options,
    async close () {
      await app.close()
      await queue.close()
      await options.database.end()
    }
  }
}
