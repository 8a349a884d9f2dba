import { fileURLToPath } from 'node:url'

import { buildApp, type Settings } from './app.ts'

const { env } = process
const port = Number(env.PORT || 3000)
const baseDomain = env.BASE_DOMAIN || 'localhost'

try {
  const app = await buildApp({
    baseDomain,
    databaseUrl: env.DATABASE_URL || 'pglite://memory',
    redisUrl: env.REDIS_URL || undefined,
    limitsFile: env.LIMITS_FILE || fileURLToPath(new URL('../limits.json', import.meta.url)),
    isolation: (env.ISOLATION || 'rls') as Settings['isolation'], // checked by the suite
    secret: env.TENANCY_SECRET
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    // Requests in flight may end within the suite's closeTimeout.
    process.once(signal, () => {
      void app.close().then(() => process.exit(0))
    })
  }
  await app.listen({ port, host: env.HOST || '127.0.0.1' })
} catch (error) {
  // Prints one sentence. The errors of the suite, of Node and of pg say what is wrong and hold no
  // password.
  const { message, code } = error as NodeJS.ErrnoException
  console.error(`The quickstart cannot start: ${message || code}`)
  process.exit(1)
}

const on = (slug: string): string => `-H 'Host: ${slug}.${baseDomain}' http://127.0.0.1:${port}`
console.log(`
Two tenants are seeded: acme (plan free) and globex (plan pro). Try:

  curl ${on('acme')}/me
  curl ${on('acme')}/projects -H 'content-type: application/json' -d '{"name":"Secret Project"}'
  curl ${on('acme')}/projects
  curl ${on('globex')}/projects
  curl ${on('globex')}/stats
  curl ${on('nobody')}/me
  for i in $(seq 70); do curl -s -o /dev/null -w '%{http_code} ' ${on('acme')}/me; done
`)
