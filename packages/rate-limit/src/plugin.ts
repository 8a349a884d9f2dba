import type { Tenant } from '@fastify-tenancy/core'
import { assertNamespaced, openRedis } from '@fastify-tenancy/redis'
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

import { Guard, type Done } from './guard.ts'
import { SharedLimiter, type Limiter } from './limiter.ts'
import { LimitsFile, type LimitsFileHealth } from './limits-file.ts'
import type { TenantLimits } from './limits.ts'
import { LocalLimiter } from './local-limiter.ts'
import { resolveRateLimitOptions, type RateLimitOptions, type ResolvedRateLimitOptions } from './options.ts'
import { ProcessRegistry } from './process-registry.ts'
import { RateLimitTargets } from './rate-limit-targets.ts'
import { registerRouteLimits } from './route-limit.ts'

/** The decorator `app.tenantRateLimit`. */
export interface TenantRateLimit {
  /** Returns the limits that currently apply to a tenant. */
  limitsFor(tenant: Tenant): TenantLimits
  health(): RateLimitHealth
}

/** The state of the limits. */
export interface RateLimitHealth {
  /** Where requests are counted: `'local'` without Redis, or while it is away. */
  readonly store: 'redis' | 'local'
  /** Undefined if the limits were given as an object. */
  readonly file: LimitsFileHealth | undefined
}

const counted: unique symbol = Symbol('tenancy.counted')
type Counted = FastifyRequest & { [counted]?: boolean }

/**
 * Limits each tenant's requests, and requests without a tenant by client address, in one hook that
 * no route can skip. Needs `@fastify-tenancy/resolver`. This plugin counts a request before it
 * sends the resolver's stored refusal.
 */
export const tenantRateLimit: FastifyPluginAsync<RateLimitOptions> = fp(async (app, input) => {
  const options = resolveRateLimitOptions(input)
  assertNamespaced(options)
  const { subjects, file } = await openLimits(app, options)
  const limiter = await openLimiter(app, options)

  app.decorate('tenantRateLimit', {
    limitsFor: (tenant: Tenant) => subjects.limitsOf(tenant),
    health: (): RateLimitHealth => ({
      store: limiter instanceof SharedLimiter && !limiter.isAway ? 'redis' : 'local',
      file: file?.health()
    })
  })
  app.decorateRequest('tenantLimits', {
    getter (this: FastifyRequest) {
      const scope = this.tenancy.scope
      return scope && subjects.limitsOf(scope.tenant)
    }
  })

  const { admit } = new Guard(limiter, options)
  app.decorateRequest(counted, false)

  // A callback, and no promise unless the limiter waits, because an async hook doubles the cost of
  // a local count.
  app.addHook('onRequest', (request: Counted, reply, done: Done) => {
    const { route, scope, refusal } = request.tenancy
    if (route.mode === 'off') return done()
    // Requests to a refused tenant count against the sender's address, like requests without a
    // tenant.
    const isTenants = request[counted] = scope !== undefined && refusal === undefined
    admit(
      request,
      reply,
      isTenants ? subjects.ofTenant(scope.tenant, request) : subjects.ofAddress(request.ip),
      done
    )
  })

  // A tenant named only by a claim is known after authentication. The resolver's preHandler is the
  // route's last one before ours.
  function countLate (request: Counted, reply: FastifyReply, done: Done): void {
    const { scope, refusal } = request.tenancy
    if (request[counted] === true || scope === undefined || refusal !== undefined) return done()
    request[counted] = true
    admit(request, reply, subjects.ofTenant(scope.tenant, request), done)
  }
  app.addHook('onRoute', route => {
    route.preHandler = [route.preHandler ?? [], countLate].flat()
  })
  app.addHook('preHandler', countLate) // unmatched URLs have no route

  await registerRouteLimits(app, { limiter, headers: options.headers, mode: options.mode })
}, { name: '@fastify-tenancy/rate-limit', fastify: '5.x', dependencies: ['@fastify-tenancy/resolver'] })

export default tenantRateLimit

async function openLimits (
  app: FastifyInstance,
  options: ResolvedRateLimitOptions
): Promise<{ subjects: RateLimitTargets; file: LimitsFile | undefined }> {
  if (options.limits !== undefined)
    return { subjects: new RateLimitTargets(options.limits, options.smoothing), file: undefined }
  const file = new LimitsFile(options.file ?? '', app.log)
  const subjects = new RateLimitTargets(
    await file.open(limits => subjects.replace(limits)),
    options.smoothing
  )
  app.addHook('onClose', async () => file.close())
  return { subjects, file }
}

async function openLimiter (app: FastifyInstance, options: ResolvedRateLimitOptions): Promise<Limiter> {
  if (options.redis === undefined) return new LocalLimiter()
  const redis = openRedis(options.redis, { namespace: options.namespace, log: app.log })
  const isOurs = redis !== options.redis
  await redis.ready()
  const census = new ProcessRegistry(redis)
  await census.start()
  const { onStoreError, precision } = options
  const limiter = new SharedLimiter(redis, {
    onStoreError,
    precision,
    log: app.log,
    processes: () => census.count
  })
  app.addHook('onClose', async () => {
    await Promise.all([limiter.close(), census.stop()])
    if (isOurs) await redis.close()
  })
  return limiter
}
