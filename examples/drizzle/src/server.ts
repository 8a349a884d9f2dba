import { buildApp } from './app.ts'

const { DATABASE_URL = 'pglite://memory', SECRET = 'a secret for trying it out, 32 characters' } = process.env
const app = await buildApp(DATABASE_URL, SECRET)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void app.close())
await app.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? '127.0.0.1' })
