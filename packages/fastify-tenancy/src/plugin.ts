import { tenantCache } from '@fastify-tenancy/cache'
import { openDatabase, tenantDatabase } from '@fastify-tenancy/database'
import { tenantRateLimit } from '@fastify-tenancy/rate-limit'
import { answerUsage, type TenancyRedis } from '@fastify-tenancy/redis'
import { tenantResolver } from '@fastify-tenancy/resolver'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

import { closeInTime } from './close-in-time.ts'
import { mapErrors } from './map-errors.ts'
import { resolveTenancyOptions, type TenancyOptions } from './options.ts'
import { Runs } from './runs.ts'
import { watchCatalog } from './watch-catalog.ts'
import { openSharedRedis } from './shared-redis.ts'
import { Tenancy } from './tenancy.ts'
import { unsignedRedis } from './unsigned-redis.ts'
import { watchHealth } from './watch-health.ts'

const plugin: FastifyPluginAsync<TenancyOptions> = async (app: FastifyInstance, input: TenancyOptions) => {
  const options = resolveTenancyOptions(input)
  const database = openDatabase(options.database)
  let redis: TenancyRedis | undefined
  // onClose hooks of one app run in reverse order, so this one, registered first, closes the
  // database when nothing uses it any more.
  app.addHook('onClose', async () => {
    await database.close()
    await redis?.close()
  })
  redis = await openSharedRedis(options, database, app.log)
  if (redis === undefined)
    app.log.warn(
      'tenancy: no redis is configured, so look-ups, limits and cached values are kept in this ' +
        'process: run only one process'
    )
  if (redis !== undefined && options.database.rls.secrets.length === 0)
    app.log.warn(`tenancy: ${unsignedRedis}`)

  // The order of a request: find its tenant, apply limits, then provide database and cache.
  const shared = redis === undefined ? {} : { redis }
  const registry = options.registry ?? database.registry
  await app.register(tenantResolver, { ...options.resolver, ...shared, registry })
  if (options.rateLimit !== undefined)
    await app.register(tenantRateLimit, { ...options.rateLimit, ...shared })
  await app.register(tenantDatabase, { database, decorator: options.decorators.db })
  if (options.cache !== undefined) await app.register(tenantCache, { ...options.cache, ...shared })

  if (redis?.health().status === 'down')
    app.log.warn(
      'tenancy: redis cannot be reached, or refuses the login: until it can, look-ups, limits ' +
        'and cached values are kept in this process'
    )

  mapErrors(app)
  const resolver = app.tenantResolver
  database.onLockedOut = tenant => {
    resolver.doubt(tenant)
  }
  const cache = options.cache === undefined ? undefined : app.tenantCache
  const runs = new Runs({ database, cache, log: app.log, watch: resolver.watch })
  closeInTime(app, { runs, prolonged: resolver.prolonged }, options.closeTimeout)
  const limits = options.rateLimit === undefined ? undefined : () => app.tenantRateLimit.health().file
  const suite = new Tenancy({ resolver, registry, database, redis, runs, limits })
  app.decorate('tenancy', suite)
  let unwatch: (() => void) | undefined
  let stopHearing: (() => Promise<void>) | undefined
  let stopAnswers: (() => Promise<void>) | undefined
  app.addHook('onReady', async () => {
    stopHearing = await watchCatalog(redis, database)
    unwatch = watchHealth({
      database,
      resolver,
      redis,
      hasOwnRegistry: options.registry !== undefined,
      down: () => suite.health().down
    })
    const { secrets } = options.database.rls
    stopAnswers = redis && await answerUsage(redis, { secrets, log: app.log })
  })
  app.addHook('preClose', async () => {
    await stopAnswers?.()
    suite.beginClose()
  })
  app.addHook('onClose', async () => {
    unwatch?.()
    await stopHearing?.()
  })
}

/**
 * Multitenancy in one registration: finds the tenant of each request, limits it, and gives the
 * handler its database and cache.
 *
 * @throws FST_TENANCY_OPTION_INVALID for a wrong option, before anything is opened.
 */
export const tenancy: FastifyPluginAsync<TenancyOptions> = fp(plugin, {
  name: 'fastify-tenancy',
  fastify: '5.x'
})

export default tenancy
