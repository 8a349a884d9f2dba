import type rateLimit from '@fastify/rate-limit'
import type { FastifyInstance } from 'fastify'

type Options = rateLimit.RateLimitOptions

/**
 * Has `app.createRateLimit()` and `app.rateLimit()` of @fastify/rate-limit take options as routes do. Without it their
 * keys would name no tenant. Each call makes a counter of its own, named by its place in the order of calls, which is the
 * same in every process; options with a `groupId` are named by that.
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
