import { buildApp } from './app.ts'
import { optionsOf, settingsOf, setUp } from './options.ts'
import { relayAll } from './outbox.ts'
import { openQueue } from './queue.ts'
import { makeReport } from './report.ts'

const settings = settingsOf(process.env)
const options = optionsOf(settings)
await setUp(options)
const queue = await openQueue(settings, options)
const app = await buildApp(options, queue)

const sweep = setInterval(() => {
  relayAll(app.tenancy, queue).catch((error: unknown) => app.log.warn({ err: error }, 'the sweep failed'))
}, 30_000)
// The order of an end: no new requests, then no new jobs, then no connection.
app.addHook('onClose', async () => {
  clearInterval(sweep)
  await queue.close()
  await options.database.end()
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void app.close())

await app.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? '127.0.0.1' })
// Only this process can use an embedded database, so it does the jobs, too.
if (process.env.DATABASE_URL === undefined) await queue.work(job => makeReport(app.tenancy, job))
else app.log.info('jobs wait for `npm run worker`')
