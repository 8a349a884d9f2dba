import type { TenantChange, TenantRecord } from '@fastify-tenancy/core'
import { markChange, publishChange, type TenancyRedis } from '@fastify-tenancy/redis'
import { setTimeout as sleep } from 'node:timers/promises'

import type { ManagerContext } from './context.ts'

/** Of the pauses between two attempts, in milliseconds: 3 s in all. */
const longestWait = 1_600

/**
 * Tells every process through Redis that a tenant has changed. The database tells them as well, where they can listen.
 * A Redis that does not answer fails nothing, because the change is made: `progress` gets the reason.
 *
 * @param tenants the tenant as it was and as it is: processes forget it under all its names.
 */
export async function tellChange (
  context: Pick<ManagerContext, 'redis' | 'options'>,
  ...tenants: readonly Pick<TenantRecord, 'id' | 'slug' | 'domains'>[]
): Promise<void> {
  const [first] = tenants
  if (first === undefined) return
  try {
    const redis = await context.redis.get()
    if (redis === undefined) return
    const change = {
      id: first.id,
      slugs: [...new Set(tenants.map(({ slug }) => slug))],
      domains: [...new Set(tenants.flatMap(({ domains }) => domains))]
    }
    await announceWithRetry(redis, change, context.redis.isAway ? 0 : longestWait)
    context.redis.isAway = false
  } catch (error) {
    context.redis.isAway = true
    const why = error instanceof Error ? error.message : String(error)
    context.options.progress?.({
      operation: 'tell',
      tenant: first.id,
      step:
        `Redis could not be told of the change (${why}): a process that does not listen to the database sees it once its copy has aged`
    })
  }
}

// Marks and messages are idempotent.
async function announceWithRetry (redis: TenancyRedis, change: TenantChange, longest: number): Promise<void> {
  if (longest > 0) await redis.ready()
  for (let wait = 100;; wait *= 2) {
    try {
      await markChange(redis, change)
      await publishChange(redis, change)
      return
    } catch (error) {
      if (wait > longest) throw error
      await sleep(wait)
    }
  }
}

/** {@link tellChange} for a domain that a tenant has gained or lost. */
export async function tellDomain (context: ManagerContext, id: string, domain: string): Promise<void> {
  const tenant = await context.registry.findById(id)
  if (tenant !== undefined) await tellChange(context, tenant, { ...tenant, domains: [domain] })
}
