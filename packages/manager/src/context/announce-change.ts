import type { TenantChange, TenantRecord } from '@fastify-tenancy/core'
import { publishEmbeddedChange } from '@fastify-tenancy/postgres/client'
import { markChange, publishChange, type TenancyRedis } from '@fastify-tenancy/redis'
import { setTimeout as sleep } from 'node:timers/promises'

import type { ManagerContext } from './context.ts'

/** Longest delay between two attempts, in milliseconds. All delays sum up to 3 s. */
const longestWait = 1_600

/**
 * Notifies every process through Redis that a tenant has changed; processes that LISTEN to the
 * database are notified there, too, and an embedded database notifies this process. Best-effort,
 * because the change is committed: `progress` receives the reason of a failure.
 *
 * @param tenants the tenant before and after the change; processes invalidate it under all its
 *   names
 */
export async function tellChange (
  context: Pick<ManagerContext, 'redis' | 'options' | 'shards'>,
  ...tenants: readonly Pick<TenantRecord, 'id' | 'slug' | 'domains'>[]
): Promise<void> {
  const [first] = tenants
  if (first === undefined) return
  const change = {
    id: first.id,
    slugs: [...new Set(tenants.map(({ slug }) => slug))],
    domains: [...new Set(tenants.flatMap(({ domains }) => domains))]
  }
  publishEmbeddedChange(context.shards.get('default'), change)
  try {
    const redis = await context.redis.get()
    if (redis === undefined) return
    await announceWithRetry(redis, change, context.redis.isAway ? 0 : longestWait)
    context.redis.isAway = false
  } catch (error) {
    context.redis.isAway = true
    const why = error instanceof Error ? error.message : String(error)
    context.options.progress?.({
      operation: 'tell',
      tenant: first.id,
      step:
        `cannot publish the change to Redis (${why}): processes that do not LISTEN to the database see it ` +
        'when their cached copy expires'
    })
  }
}

// Retries are safe, because marks and messages are idempotent.
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

/** Calls {@link tellChange} for a domain that a tenant has gained or lost. */
export async function tellDomain (context: ManagerContext, id: string, domain: string): Promise<void> {
  const tenant = await context.registry.findById(id)
  if (tenant !== undefined) await tellChange(context, tenant, { ...tenant, domains: [domain] })
}
