import { channels, pulseKey } from '@fastify-tenancy/core'
import type { DatabaseRuntime } from '@fastify-tenancy/database'
import type { TenancyRedis } from '@fastify-tenancy/redis'
import type { TenantResolver } from '@fastify-tenancy/resolver'

/** How often Redis is asked, in milliseconds: a client that sends nothing sees no outage. */
const every = 2_000
/** For how long a registry of the user's own may be silent before it is asked, in milliseconds. */
const silence = 5_000

/** The parts whose health is to be seen without traffic. */
export interface WatchedParts {
  readonly database: DatabaseRuntime
  readonly resolver: TenantResolver
  readonly redis: TenancyRedis | undefined
  /** Whether the registry is the user's own, and so no server that the database looks after. */
  readonly hasOwnRegistry: boolean
  /** The names of parts that are not well. */
  readonly down: () => readonly string[]
}

/** Looks after the parts: `health()` then tells of what went away although no request noticed it. @returns the function that ends it */
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
    // Where it has failed, also of the database's: a process without traffic would never see that it is back.
    if (hasOwnRegistry || resolver.health().registry === 'down') resolver.probeRegistry(silence)
  }, every).unref()
  return () => {
    clearInterval(timer)
  }
}
