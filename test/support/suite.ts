// A whole application: the suite on a provisioned database, listening.
import { toTenant, memoryRegistry } from '@fastify-tenancy/core'
import Fastify, { type FastifyInstance } from 'fastify'
import tenancy, { type TenancyOptions } from 'fastify-tenancy'
import { sql, type Kysely } from 'kysely'
import type { Test } from 'tap'

import type { Provisioned, Rows } from './tenants.ts'

/**
 * `request.db` with the tests' tables. All test files share one `Register`, so it is not
 * augmented.
 */
export function dbOf (request: { db: unknown }): Kysely<Rows> {
  return request.db as Kysely<Rows>
}

export const tenants = ['acme', 'globex', 'initech', 'umbrella', 'hooli', 'stark', 'wayne'].map(slug =>
  toTenant({ id: `id-${slug}`, slug })
)

export interface SuiteOptions extends Partial<Omit<TenancyOptions, 'database'>> {
  readonly database?: object
  readonly logStream?: { write(line: string): void }
}

/** Returns an application with the suite, ready for routes, closed when the test ends. */
export async function suite (
  t: Test,
  on: Provisioned,
  { database = {}, logStream, ...options }: SuiteOptions = {}
): Promise<FastifyInstance> {
  const app = Fastify({ logger: logStream === undefined ? false : { level: 'trace', stream: logStream } })
  t.teardown(() => app.close())
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: { url: on.url, ...database },
    tables: on.tables,
    registry: memoryRegistry(tenants),
    ...(options.redis !== undefined && { namespace: 'test' }),
    ...(on.secret !== undefined && { rls: { secret: on.secret } }),
    ...options
  })
  return app
}

/**
 * Routes over `notes`: list, add, sleep, and a transaction of two statements that awaits
 * `between`.
 */
export function noteRoutes (app: FastifyInstance, between: () => Promise<unknown> = async () => {}): void {
  app.get(
    '/notes',
    async request => dbOf(request).selectFrom('notes').select(['id', 'body']).orderBy('id').execute()
  )
  app.post<{ Body: { body: string } }>(
    '/notes',
    async (request, reply) =>
      reply.code(201).send(
        await dbOf(request).insertInto('notes').values({ body: request.body.body }).returning(['id', 'body'])
          .executeTakeFirst()
      )
  )
  app.get('/sleep', async request => sql`select pg_sleep(20)`.execute(dbOf(request)))
  app.post('/transaction', async request =>
    dbOf(request).transaction().execute(async trx => {
      await trx.insertInto('notes').values({ body: 'first' }).execute()
      await between()
      await trx.insertInto('notes').values({ body: 'second' }).execute()
      return { done: true }
    }))
}
