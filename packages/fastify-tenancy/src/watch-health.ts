import { channels } from '@fastify-tenancy/core'
import { pulseKey } from '@fastify-tenancy/core/keys'
import type { DatabaseRuntime } from '@fastify-tenancy/database'
import type { TenancyRedis } from '@fastify-tenancy/redis'
import type { TenantResolver } from '@fastify-tenancy/resolver'

/** How often Redis is probed, in milliseconds. A client that sends nothing notices no outage. */
const every = 2_000
/** How long a custom registry may be silent before it is probed, in milliseconds. */
const silence = 5_000

/** The parts whose health is watched without traffic. */
interface WatchedParts {
  readonly database: DatabaseRuntime
  readonly resolver: TenantResolver
  readonly redis: TenancyRedis | undefined
  /** Whether the registry is custom, so that the database does not watch it. */
  readonly hasOwnRegistry: boolean
  /** Returns the names of parts that do not work. */
  readonly down: () => readonly string[]
}

/**
 * Watches the parts, so that `health()` reports an outage that no request noticed. @returns the
 * function that ends it
 */
export function watchHealth ({ database, resolver, redis, hasOwnRegistry, down }: WatchedParts): () => void {
  database.watchHealth()
  let known: ReadonlySet<string> = new Set()
  const compare = (): void => {
    const now = new Set(down())
    for (const part of now) { if (!known.has(part)) channels.degraded.publish({ part }) }
    for (const part of known) { if (!now.has(part)) channels.recovered.publish({ part }) }
    known = now
  }
  const timer = setInterval(() => {
    redis?.get(pulseKey).catch(() => {})
    compare()
    // After a failure, also probe the suite's own registry. A process without traffic would never
    // notice its recovery.
    if (hasOwnRegistry || resolver.health().registry === 'down') resolver.probeRegistry(silence)
  }, every).unref()
  return () => {
    clearInterval(timer)
  }
}
