import type { openPool } from 'fastify-tenancy'
import { PgBoss } from 'pg-boss'

import type { Job, Queue } from './job.ts'

const name = 'reports'

/**
 * pg-boss in the schema `pgboss` of the same database. Tenants' roles have no right there. That is
 * why a request writes to the outbox, and not to the queue.
 */
export async function bossQueue (pool: ReturnType<typeof openPool>): Promise<Queue> {
  const boss = new PgBoss({ db: { executeSql: (text, values) => pool.query(text, values) } })
  boss.on('error', error => console.error(error.message))
  await boss.start()
  await boss.createQueue(name, { retryLimit: 20, retryDelay: 1, retryBackoff: true, retryDelayMax: 600 })
  return {
    async add (id, job) {
      await boss.send(name, job, { id })
    },
    async work (fn) {
      await boss.work<Job>(name, { pollingIntervalSeconds: 0.5 }, async jobs => {
        for (const { data } of jobs) await fn(data)
      })
    },
    async close () {
      await boss.stop()
    }
  }
}
