import { openRedis } from '@fastify-tenancy/redis'

import { readDirect, type HostReader } from './forwarded.ts'
import { HostPatterns } from './host-pattern.ts'
import type { ResolvedResolverOptions } from './options.ts'
import { TenantResolver } from './resolver.ts'
import { Strategies } from './strategies.ts'

/** What answers requests and look-ups, and the way to end it. */
export interface OpenResolver {
  readonly resolver: TenantResolver
  readonly strategies: Strategies
  /** Stops listening, and closes the client where it was opened here. */
  close (): Promise<void>
}

/** Makes the resolver of checked options; `resolver.start()` has it hear of changes. */
export function openResolver (options: ResolvedResolverOptions, readHost: HostReader = readDirect): OpenResolver {
  const strategies = new Strategies(options, new HostPatterns(options.hosts), readHost)
  const redis = options.redis === undefined ? undefined : openRedis(options.redis, { namespace: options.namespace })
  const resolver = new TenantResolver(options.registry, redis, options.cache, host => strategies.askHost(host))
  return {
    resolver,
    strategies,
    async close () {
      await resolver.stop()
      if (redis !== options.redis) await redis?.close()
    }
  }
}
