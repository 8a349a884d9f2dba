import type { Tenant } from '@fastify-tenancy/core'
import { randomUUID } from 'node:crypto'

import type { Application, Cache } from './application.ts'
import type { Findings } from './findings.ts'

/** How many kinds of attack {@link attackCache} tries. */
export const cacheAttacks = 8

/** Tries to read and change the victim's cached values through a handle of the attacker. */
export async function attackCache (
  app: Application,
  attacker: Tenant,
  victim: Tenant,
  secret: string,
  findings: Findings
): Promise<void> {
  if (!app.hasDecorator('tenantCache')) return
  const line = findings.of('cache')
  const key = `kit ${randomUUID()}`
  const count = `${key} count`
  const asVictim = <T>(work: (cache: Cache) => Promise<T>): Promise<T> =>
    app.tenancy.run({ id: victim.id }, ({ cache }) => work(cache))
  const leak = (request: string, what: string): void => findings.leak({ where: 'cache', request, what })

  const plant = (): Promise<void> => asVictim(cache => cache.set(key, secret, { tags: ['kit'] }))
  await plant()
  await asVictim(cache => cache.increment(count))
  await app.tenancy.run({ id: attacker.id }, async ({ cache }) => {
    const tries: Record<string, () => Promise<unknown>> = {
      get: () => cache.get(key),
      getMany: async () => (await cache.getMany([key]))[0],
      has: async () => await cache.has(key) || undefined,
      increment: async () => await cache.increment(count) > 1 || undefined
    }
    for (const [name, attempt] of Object.entries(tries)) {
      line.requests++
      const seen = await attempt()
      line.reached++
      if (seen !== undefined) leak(`${name}('${key}')`, String(seen))
    }
    for (
      const [name, change] of Object.entries<() => Promise<unknown>>({
        delete: () => cache.delete(key),
        set: () => cache.set(key, 'a value of the attacker'),
        invalidateTag: () => cache.invalidateTag('kit'),
        flush: () => cache.flush()
      })
    ) {
      line.requests++
      await plant()
      await change()
      line.reached++
      const left = await asVictim(own => own.get(key))
      if (left !== secret) leak(`${name}()`, `the victim's value ${secret} became ${String(left)}`)
    }
  })
  await asVictim(cache => cache.delete(key, count))
}
