import { createTenancy } from 'fastify-tenancy'

import { optionsOf, settingsOf } from './options.ts'
import { openQueue } from './queue.ts'
import { makeReport } from './report.ts'

if (process.env.DATABASE_URL === undefined) throw new Error('DATABASE_URL must be set: see the README')
const settings = settingsOf(process.env)
const options = optionsOf(settings)
const tenancy = await createTenancy(options)
const queue = await openQueue(settings, options)
await queue.work(job => makeReport(tenancy, job))
console.log('The worker waits for jobs')

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, async () => {
    await queue.close()
    await tenancy.close()
    await options.database.end()
  })
