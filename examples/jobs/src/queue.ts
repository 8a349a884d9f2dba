import { bullQueue } from './bullmq-queue.ts'
import type { Queue } from './job.ts'
import type { Options, Settings } from './options.ts'
import { bossQueue } from './pg-boss-queue.ts'

/** Opens the queue of these settings. */
export function openQueue ({ redisUrl }: Settings, { database }: Options): Promise<Queue> {
  return redisUrl === undefined ? bossQueue(database) : bullQueue(redisUrl)
}
