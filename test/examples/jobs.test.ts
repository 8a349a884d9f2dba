// The example jobs: the tests that it shows its readers, on PostgreSQL and Redis.
import t from 'tap'

import { runExample } from '../support/example.ts'
import { freshDatabase, noRedis } from '../support/fresh.ts'
import { startRedis } from '../support/services.ts'

t.test('a job of pg-boss works for the tenant that made it', { timeout: 120_000 }, async t => {
  await runExample(t, 'jobs', 'jobs.test.ts', { DATABASE_URL: await freshDatabase(t), QUEUE: 'pg-boss' })
})

t.test('so does a job of BullMQ', { skip: noRedis, timeout: 120_000 }, async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const env = { DATABASE_URL: await freshDatabase(t), QUEUE: 'BullMQ', REDIS_URL: redis.url }
  await runExample(t, 'jobs', 'jobs.test.ts', env)
})
