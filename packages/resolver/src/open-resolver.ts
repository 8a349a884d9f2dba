import { HostPatterns } from '@fastify-tenancy/core'
import { openRedis } from '@fastify-tenancy/redis'

import { readDirect, type HostReader } from './forwarded.ts'
import type { ResolvedResolverOptions } from './options.ts'
import { TenantResolver } from './resolver.ts'
import { checkSlugs } from './slug-check.ts'
import { Strategies } from './strategies.ts'

/** What answers requests and look-ups, and the way to end it. */
export interface OpenResolver {
  readonly resolver: TenantResolver
  readonly strategies: Strategies
  /**
   * Holds the slugs of all tenants against the host patterns, where these could misread any.
   *
   * @returns what to warn of
   * @throws FST_TENANCY_OPTION_INVALID that names the tenant and the pattern
   */
  checkSlugs(): Promise<string | undefined>
  /** Stops listening, and closes the client where it was opened here. */
  close(): Promise<void>
}

/** Makes the resolver of checked options; `resolver.start()` has it hear of changes. */
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
