import { buildApp } from './app.ts'
import { optionsOf, setUp } from './options.ts'

const { DATABASE_URL = 'pglite://memory', SECRET = 'a secret for trying it out, 32 characters' } = process.env
const options = optionsOf(DATABASE_URL, SECRET)
await (await setUp(options)).close()
const app = await buildApp(options)
app.addHook('onClose', () => options.close())
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void app.close())
await app.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? '127.0.0.1' })
