import type { TenancyError } from '@fastify-tenancy/core'
import createError from '@fastify/error'

type Constructor = new (message: string) => TenancyError

const RateLimited: Constructor = createError('FST_TENANCY_RATE_LIMITED', '%s', 429)
const RateLimitUnavailable: Constructor = createError('FST_TENANCY_RATE_LIMIT_UNAVAILABLE', '%s', 503)

/**
 * 429: the tenant, the client or the route is over its limit.
 *
 * @param retryAfter whole seconds until the same request would be admitted if nothing else came.
 */
export function rateLimited (retryAfter: number): TenancyError {
  // A refusal under attack has to be cheap, and its stack, which says nothing, costs as much as the rest of the request.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return Object.assign(new RateLimited(`Rate limit exceeded, retry in ${retryAfter} s`), { retryAfter })
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** 503: Redis cannot be asked, and `onStoreError` is `'closed'`. */
export function rateLimitUnavailable (cause: unknown): TenancyError {
  const error = Object.assign(new RateLimitUnavailable('The rate limit cannot be checked at the moment'), { retryAfter: 1 })
  return Object.defineProperty(error, 'cause', { value: cause, enumerable: false })
}
