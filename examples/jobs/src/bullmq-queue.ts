import { Queue as Bull, Worker } from 'bullmq'

import type { Job, Queue } from './job.ts'

const name = 'reports'

/** BullMQ on Redis. Its keys are its own: the suite's keys carry the id of the installation. */
export async function bullQueue (url: string): Promise<Queue> {
  const connection = { url, maxRetriesPerRequest: null }
  const queue = new Bull<Job>(name, {
    connection,
    defaultJobOptions: { attempts: 20, backoff: { type: 'exponential', delay: 500 }, removeOnComplete: 1_000 }
  })
  let worker: Worker<Job> | undefined
  return {
    async add (jobId, job) {
      await queue.add('report', job, { jobId })
    },
    async work (fn) {
      worker = new Worker<Job>(name, ({ data }) => fn(data), { connection, concurrency: 8 })
      worker.on('error', error => console.error(error.message))
      await worker.waitUntilReady()
    },
    async close () {
      await worker?.close()
      await queue.close()
    }
  }
}
