import { HostPatterns } from '@fastify-tenancy/core/names'
import { openRedis } from '@fastify-tenancy/redis'

import { readDirect, type HostReader } from './forwarded.ts'
import type { ResolvedResolverOptions } from './options.ts'
import { TenantResolver } from './resolver.ts'
import { checkSlugs } from './slug-check.ts'
import { Strategies } from './strategies.ts'

/** An open resolver with its strategies and a function that closes it. */
export interface OpenResolver {
  readonly resolver: TenantResolver
  readonly strategies: Strategies
  /**
   * Checks the slugs of all tenants against the host patterns, if these could misread a slug.
   *
   * @returns the text of a warning, if any
   * @throws FST_TENANCY_OPTION_INVALID that names the tenant and the pattern
   */
  checkSlugs(): Promise<string | undefined>
  /** Stops listening for changes, and closes the Redis client if it was opened here. */
  close(): Promise<void>
}

/** Creates the resolver from checked options. `resolver.start()` subscribes it to changes. */
export function openResolver (
  options: ResolvedResolverOptions,
  readHost: HostReader = readDirect
): OpenResolver {
  const patterns = new HostPatterns(options.hosts)
  const strategies = new Strategies(options, patterns, readHost)
  const redis = options.redis === undefined
    ? undefined
    : openRedis(options.redis, { namespace: options.namespace })
  const resolver = new TenantResolver(
    options.registry,
    redis,
    options.cache,
    host => strategies.askHost(host),
    undefined,
    options.secrets
  )
  resolver.addressOf = tenant => strategies.addressOf(tenant)
  return {
    resolver,
    strategies,
    checkSlugs: () => checkSlugs(options.registry, patterns),
    async close () {
      await resolver.stop()
      if (redis !== options.redis) await redis?.close()
    }
  }
}
