import Fastify, { type FastifyInstance } from 'fastify'
import tenancy from 'fastify-tenancy'

import type { Options } from './options.ts'
import { relay } from './outbox.ts'
import type { Queue } from './job.ts'

const order = {
  type: 'object',
  required: ['amount'],
  additionalProperties: false,
  properties: { amount: { type: 'integer', minimum: 1, maximum: 1_000_000 } }
}
const byId = { type: 'object', properties: { id: { type: 'string', format: 'uuid' } } }

/** Returns the application. It adds jobs to the queue and does none. */
export async function buildApp (options: Options, queue: Queue, logger = true): Promise<FastifyInstance> {
  const app = Fastify({ logger })
  await app.register(tenancy, options)

  app.post<{ Body: { amount: number } }>(
    '/orders',
    { schema: { body: order } },
    async ({ db, body }, reply) => {
      reply.code(201)
      return db.insertInto('orders').values(body).returning(['id', 'amount']).executeTakeFirstOrThrow()
    }
  )

  app.get('/orders', async ({ db }) => ({
    orders: await db.selectFrom('orders').select(['id', 'amount']).execute()
  }))

  // One transaction: there is never a report without a job, nor a job without a report.
  app.post('/reports', {
    config: { tenancy: { transaction: true } },
    onResponse: async ({ tenant, log }, reply) => {
      if (reply.statusCode !== 202) return
      // If the queue is away, the row stays in the outbox, and `relayAll` sends it later.
      await relay(app.tenancy, queue, { id: tenant.id }).catch((error: unknown) => {
        log.warn({ err: error }, 'the job stays in the outbox')
      })
    }
  }, async ({ db }, reply) => {
    const { id } = await db.insertInto('reports').values({ total: null }).returning('id')
      .executeTakeFirstOrThrow()
    await db.insertInto('outbox').values({ report_id: id }).execute()
    return reply.code(202).send({ id })
  })

  app.get<{ Params: { id: string } }>(
    '/reports/:id',
    { schema: { params: byId } },
    async ({ db, params }, reply) => {
      const report = await db.selectFrom('reports').select(['id', 'total']).where('id', '=', params.id)
        .executeTakeFirst()
      if (report === undefined) return reply.code(404).send({ message: 'There is no such report' })
      return { id: report.id, state: report.total === null ? 'queued' : 'done', total: report.total }
    }
  )
  return app
}
