import type rateLimit from '@fastify/rate-limit'
import type { FastifyInstance } from 'fastify'

type Options = rateLimit.RateLimitOptions

/**
 * Makes `app.createRateLimit()` and `app.rateLimit()` of @fastify/rate-limit accept the options of
 * routes, and puts the tenant into their keys.
 *
 * Each call creates a separate counter, named by its position in the order of calls, which is the
 * same in every process. Options with a `groupId` are named by it.
 *
 * @param prepare checks options, and makes their `keyGenerator` put the tenant before the key.
 */
export function replaceDecorators (
  app: FastifyInstance,
  prepare: (input: object, name: string) => Options
): void {
  const { createRateLimit, rateLimit } = app
  let made = 0
  const prepared = (input: object | undefined, name: string): Options => {
    const options = prepare(input ?? {}, `the options of app.${name}()`)
    return { ...options, groupId: options.groupId ?? `created ${++made}` }
  }
  app.createRateLimit = options => createRateLimit(prepared(options, 'createRateLimit'))
  app.rateLimit = options => rateLimit(prepared(options, 'rateLimit'))
}
