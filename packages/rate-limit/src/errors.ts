import type { TenancyError } from '@fastify-tenancy/core'
import createError from '@fastify/error'

export { rateLimited } from '@fastify-tenancy/core/errors'

type Constructor = new(message: string) => TenancyError

const RateLimitUnavailable: Constructor = createError('FST_TENANCY_RATE_LIMIT_UNAVAILABLE', '%s', 503)

/** 503: Redis cannot be asked, and `onStoreError` is `'closed'`. */
export function rateLimitUnavailable (cause: unknown): TenancyError {
  const error = Object.assign(new RateLimitUnavailable('The rate limit cannot be checked at the moment'), {
    retryAfter: 1
  })
  return Object.defineProperty(error, 'cause', { value: cause, enumerable: false })
}
