import type { Tenant } from '@fastify-tenancy/core'
import { openRedis } from '@fastify-tenancy/redis'
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

import { Census } from './census.ts'
import { rateLimited } from './errors.ts'
import { sendHeaders } from './headers.ts'
import { InFlight } from './in-flight.ts'
import { SharedLimiter, type Limiter } from './limiter.ts'
import { LimitsFile, type LimitsFileHealth } from './limits-file.ts'
import type { TenantLimits } from './limits.ts'
import { LocalLimiter } from './local-limiter.ts'
import { resolveRateLimitOptions, type RateLimitOptions, type ResolvedRateLimitOptions } from './options.ts'
import type { Verdict } from './quota.ts'
import { registerRouteLimits } from './route-limit.ts'
import { Subjects, type Subject } from './subjects.ts'

/** `app.tenantRateLimit`. */
export interface TenantRateLimit {
  /** The limits that hold for a tenant at present. */
  limitsFor (tenant: Tenant): TenantLimits
  health (): RateLimitHealth
}

/** How the limits stand. */
export interface RateLimitHealth {
  /** Where requests are counted: `'local'` without Redis, or while it is away. */
  readonly store: 'redis' | 'local'
  /** Undefined where the limits were given as an object. */
  readonly file: LimitsFileHealth | undefined
}

/**
 * Limits each tenant's requests, and those without a tenant by their client's address, in one hook that no route can leave.
 * Needs `@fastify-tenancy/resolver`, whose stored refusals are sent from here, after they were counted.
 */
export const tenantRateLimit: FastifyPluginAsync<RateLimitOptions> = fp(async (app, given) => {
  const options = resolveRateLimitOptions(given)
  const { subjects, file } = await openLimits(app, options)
  const limiter = await openLimiter(app, options)
  const inFlight = new InFlight()

  app.decorate('tenantRateLimit', {
    limitsFor: (tenant: Tenant) => subjects.limitsOf(tenant),
    health: (): RateLimitHealth => ({ store: limiter instanceof SharedLimiter && !limiter.isAway ? 'redis' : 'local', file: file?.health() })
  })
  app.decorateRequest('tenantLimits', {
    getter (this: FastifyRequest) {
      const scope = this.tenancy.scope
      return scope && subjects.limitsOf(scope.tenant)
    }
  })

  // A callback, and no promise where nothing is waited for: an async hook doubles the cost of a local count.
  app.addHook('onRequest', (request, reply, done) => {
    const { route, scope, refusal } = request.tenancy
    if (route.mode === 'off') return done()
    // A refused tenant's requests count for their sender, like those to no tenant.
    const subject = scope !== undefined && refusal === undefined ? subjects.ofTenant(scope.tenant, request.ip) : subjects.ofAddress(request.ip)

    const leave = enter(inFlight, subject, reply)
    if (leave === undefined && isRefused('concurrency', 1_000)) return

    const settle = (verdict: Verdict | undefined): void => {
      if (verdict !== undefined) {
        sendHeaders(reply, options.headers, subject, verdict)
        if (verdict.wait > 0 && isRefused(subject.quotas[verdict.refusedBy]?.name, verdict.wait)) return leave?.()
      }
      end(refusal)
    }
    const verdict = subject.quotas.length === 0 ? undefined : limiter.take(subject.quotas, route.cost)
    if (verdict instanceof Promise) verdict.then(settle, end)
    else settle(verdict)

    /** Sends 429, or only says in the log that it would. */
    function isRefused (limit: string | undefined, wait: number): boolean {
      const retryAfter = Math.ceil(wait / 1_000)
      if (options.mode === 'report') {
        request.log.warn({ limit, retryAfter }, 'over the limit: let through, since mode is report')
        return false
      }
      end(rateLimited(retryAfter))
      return true
    }

    function end (error: Error | undefined): void {
      if (error !== undefined && 'retryAfter' in error && error.retryAfter !== undefined) reply.header('retry-after', error.retryAfter)
      done(error)
    }
  })

  await registerRouteLimits(app, { limiter, headers: options.headers, mode: options.mode })
}, { name: '@fastify-tenancy/rate-limit', fastify: '5.x', dependencies: ['@fastify-tenancy/resolver'] })

export default tenantRateLimit

async function openLimits (app: FastifyInstance, options: ResolvedRateLimitOptions): Promise<{ subjects: Subjects, file: LimitsFile | undefined }> {
  if (options.limits !== undefined) return { subjects: new Subjects(options.limits, options.smoothing), file: undefined }
  const file = new LimitsFile(options.file ?? '', app.log)
  const subjects = new Subjects(await file.open(limits => subjects.replace(limits)), options.smoothing)
  app.addHook('onClose', async () => file.close())
  return { subjects, file }
}

async function openLimiter (app: FastifyInstance, options: ResolvedRateLimitOptions): Promise<Limiter> {
  if (options.redis === undefined) return new LocalLimiter()
  const redis = openRedis(options.redis)
  const isOurs = redis !== options.redis
  await redis.ready()
  const census = new Census(redis)
  await census.start()
  app.addHook('onClose', async () => {
    await census.stop()
    if (isOurs) await redis.close()
  })
  return new SharedLimiter(redis, { onStoreError: options.onStoreError, log: app.log, processes: () => census.count })
}

/**
 * Takes one of the subject's places until the response has closed, however it ends: sent, hijacked, aborted, timed out.
 * Undefined when all places are taken.
 */
function enter (inFlight: InFlight, { key, limits }: Subject, reply: FastifyReply): (() => void) | undefined {
  if (limits.concurrency === undefined) return nothing
  const leave = inFlight.enter(key, limits.concurrency)
  if (leave === undefined) return undefined
  reply.raw.once('close', leave)
  if (reply.raw.destroyed) leave() // the client went while its tenant was looked up
  return leave
}

function nothing (): void {}
