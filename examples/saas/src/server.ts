import { randomBytes } from 'node:crypto'

import { buildApp } from './app.ts'

const { env } = process
if (env.SECRET === undefined && env.NODE_ENV === 'production')
  throw new Error('SECRET must be set in production')
const app = await buildApp({
  databaseUrl: env.DATABASE_URL ?? 'pglite://memory',
  baseDomain: env.BASE_DOMAIN ?? 'localhost',
  secret: env.SECRET ?? randomBytes(32).toString('hex')
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void app.close())
await app.listen({ port: Number(env.PORT ?? 3000), host: env.HOST ?? '127.0.0.1' })
