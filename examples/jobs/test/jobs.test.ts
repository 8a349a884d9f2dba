// From a request through outbox and queue to the job, with both queues.
import { createManager } from '@fastify-tenancy/manager'
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'

import { relayAll } from '../src/outbox.ts'
import { makeReport } from '../src/report.ts'
import { world } from './world.ts'

// QUEUE names one of them. Without REDIS_URL only pg-boss is tested.
const queues = { 'pg-boss': undefined, ...(process.env.REDIS_URL && { BullMQ: process.env.REDIS_URL }) }

for (
  const [name, redisUrl] of Object.entries(queues).filter(([name]) => name === (process.env.QUEUE ?? name))
) {
  test(`${name}: a job works for the tenant whose request made it`, async () => {
    const { app, queue, options, close } = await world(redisUrl)
    const send = async (slug: string, method: 'GET' | 'POST', url: string, payload?: object) =>
      (await app.inject({ method, url, headers: { host: `${slug}.localhost` }, ...(payload && { payload }) }))
        .json<{ id: string; state: string; total: string | null }>()
    const done = async (slug: string, id: string): Promise<string | null> => {
      for (let i = 0; i < 600; i++) {
        const { state, total } = await send(slug, 'GET', `/reports/${id}`)
        if (state === 'done') return total
        await sleep(50)
      }
      throw new Error(`the report of ${slug} was not made`)
    }
    const manager = createManager(options)
    try {
      await send('acme', 'POST', '/orders', { amount: 7 })
      await send('acme', 'POST', '/orders', { amount: 5 })
      await send('globex', 'POST', '/orders', { amount: 100 })
      const acme = await send('acme', 'POST', '/reports')
      const globex = await send('globex', 'POST', '/reports')
      assert.equal((await send('acme', 'GET', `/reports/${acme.id}`)).state, 'queued')

      // Globex is suspended while its job waits: the job fails, and is tried again.
      await manager.suspend({ slug: 'globex' })
      const failed = Promise.withResolvers<void>()
      await queue.work(job =>
        makeReport(app.tenancy, job).catch((error: { code: string }) => {
          assert.equal(error.code, 'FST_TENANCY_TENANT_SUSPENDED')
          failed.resolve()
          throw error
        })
      )
      assert.equal(await done('acme', acme.id), '12')
      await failed.promise
      await manager.resume({ slug: 'globex' })
      assert.equal(await done('globex', globex.id), '100')

      // A process that died after its commit has left a row. The sweep sends it, once.
      const lost = await app.tenancy.run({ slug: 'acme' }, async ({ db }) => {
        const { id } = await db.insertInto('reports').values({ total: null }).returning('id')
          .executeTakeFirstOrThrow()
        await db.insertInto('outbox').values({ report_id: id }).execute()
        return id
      })
      await Promise.all([relayAll(app.tenancy, queue), relayAll(app.tenancy, queue)])
      assert.equal(await done('acme', lost), '12')
      const left = await app.tenancy.run(
        { slug: 'acme' },
        ({ db }) => db.selectFrom('outbox').selectAll().execute()
      )
      assert.deepEqual(left, [])

      // A job of a tenant that is gone is dropped: it must not fail forever.
      await makeReport(app.tenancy, { tenancy: { v: 1, tenant: crypto.randomUUID() }, report: lost })
    } finally {
      await manager.close()
      await close()
    }
  })
}
