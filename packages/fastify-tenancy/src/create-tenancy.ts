import { openCache, resolveCacheOptions } from '@fastify-tenancy/cache'
import { openDatabase } from '@fastify-tenancy/database'
import { answerUsage } from '@fastify-tenancy/redis'
import { openResolver, resolveResolverOptions } from '@fastify-tenancy/resolver'

import { resolveTenancyOptions, type TenancyOptions } from './options.ts'
import { Runs, type TenancyLogger } from './runs.ts'
import { watchCatalog } from './watch-catalog.ts'
import { openSharedRedis } from './shared-redis.ts'
import { Tenancy } from './tenancy.ts'
import { unsignedRedis } from './unsigned-redis.ts'
import { watchHealth } from './watch-health.ts'

/** {@link Tenancy} without an application. Its creator must close it. */
export interface StandaloneTenancy extends Tenancy {
  /**
   * Waits up to `closeTimeout` for running work, aborts the rest, and closes everything that was
   * opened.
   */
  close(): Promise<void>
}

/** Settings of {@link createTenancy} besides the options of the suite. */
export interface StandaloneOptions {
  /** Pino, or a logger with the same methods. @default nothing is logged */
  readonly log?: TenancyLogger
}

/**
 * Opens the suite without Fastify, for workers and scripts. It takes the same options and returns
 * the same object as `app.tenancy`. Limits apply to requests only, so they are not opened.
 *
 * @throws FST_TENANCY_OPTION_INVALID for a wrong option, and FST_TENANCY_SETUP_INVALID with the
 * command to run.
 */
export async function createTenancy (
  input: TenancyOptions,
  { log = silent }: StandaloneOptions = {}
): Promise<StandaloneTenancy> {
  const options = resolveTenancyOptions(input)
  const database = openDatabase(options.database)
  const redis = await openSharedRedis(options, database, log).catch(async (error: unknown) => {
    await database.close()
    throw error
  })
  const shared = redis === undefined ? {} : { redis }
  const registry = options.registry ?? database.registry
  const { resolver, checkSlugs, close: closeResolver } = openResolver(
    resolveResolverOptions({ ...options.resolver, ...shared, registry }, 'options.resolver')
  )
  database.onLockedOut = tenant => {
    resolver.doubt(tenant)
  }
  const cache = options.cache &&
    openCache(resolveCacheOptions({ ...options.cache, ...shared }, 'options.cache'), log)
  const runs = new Runs({ database, cache, log, watch: resolver.watch })

  const suite = new Tenancy({ resolver, registry, database, redis, runs })
  let unwatch: (() => void) | undefined
  let stopHearing: (() => Promise<void>) | undefined
  let stopAnswers: (() => Promise<void>) | undefined

  // Close in reverse order of opening, because later parts use earlier ones.
  const close = async (): Promise<void> => {
    suite.beginClose()
    unwatch?.()
    await stopHearing?.()
    await stopAnswers?.()
    await runs.close(options.closeTimeout)
    await cache?.close()
    await closeResolver()
    await database.close()
    await redis?.close()
  }
  try {
    database.logShards(log)
    const { level, reasons, warnings = [] } = await database.boot()
    log[level < 3 ? 'warn' : 'info'](
      { isolationLevel: `L${level}`, reasons },
      `tenancy: isolation level L${level}`
    )
    if (redis !== undefined && options.database.rls.secrets.length === 0)
      log.warn({}, `tenancy: ${unsignedRedis}`)
    const misfit = await checkSlugs()
    for (const warning of [...warnings, ...(misfit === undefined ? [] : [misfit])])
      log.warn({}, `tenancy: ${warning}`)
    await resolver.start()
    stopHearing = await watchCatalog(redis, database)
    await cache?.start()
    const { secrets } = options.database.rls
    stopAnswers = redis && await answerUsage(redis, { secrets, log })
  } catch (error) {
    await close()
    throw error
  }
  unwatch = watchHealth({
    database,
    resolver,
    redis,
    hasOwnRegistry: options.registry !== undefined,
    down: () => suite.health().down
  })
  return Object.assign(suite, { close })
}

/**
 * Returns the options unchanged. It types them in a file that the application and the command
 * share.
 */
export function defineTenancy (options: TenancyOptions): TenancyOptions {
  return options
}

const silent: TenancyLogger = { info () {}, warn () {}, error () {}, child: () => silent }
