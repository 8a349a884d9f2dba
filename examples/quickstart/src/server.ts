import { buildApp } from './app.ts'

const port = Number(process.env.PORT ?? 3000)
const baseDomain = process.env.BASE_DOMAIN ?? 'localhost'

const app = await buildApp({
  baseDomain,
  databaseUrl: process.env.DATABASE_URL || 'pglite://memory',
  redisUrl: process.env.REDIS_URL || undefined,
  limitsFile: process.env.LIMITS_FILE ?? new URL('../limits.json', import.meta.url).pathname,
  isolation: process.env.ISOLATION ?? 'rls',
  secret: process.env.TENANCY_SECRET
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => { void app.close().then(() => process.exit(0)) })
}

await app.listen({ port, host: process.env.HOST ?? '127.0.0.1' })

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
