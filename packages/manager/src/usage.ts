import { OptionInvalidError } from '@fastify-tenancy/core'
import { checkOptions, instance, positiveInteger } from '@fastify-tenancy/core/options'
import { askUsage, type FleetUsage } from '@fastify-tenancy/redis'
import * as v from 'valibot'

import type { ManagerContext } from './context/context.ts'

/** Options of {@link Manager.usage}. */
export interface UsageInput {
  /** How long the applications count, in seconds, at most 60. @default 5 */
  readonly seconds?: number
  /** Number of busiest tenants to list individually. @default 20 */
  readonly top?: number
  /** Aborts the wait. */
  readonly signal?: AbortSignal
}

const schema = v.strictObject({
  seconds: v.optional(v.pipe(positiveInteger, v.maxValue(60, 'must be at most 60')), 5),
  top: v.optional(positiveInteger, 20),
  signal: v.optional(instance<AbortSignal>('an AbortSignal', 'addEventListener', 'throwIfAborted'))
}, 'must be an object')

/** Returns the usage of tenants in all running applications. */
export async function readUsage ({ redis, options }: ManagerContext, input: UsageInput): Promise<FleetUsage> {
  const { seconds, top, signal } = checkOptions(schema, input, 'the options of usage()')
  const port = await redis.get()
  if (port === undefined)
    throw new OptionInvalidError(
      'options.redis is required for usage(): set it to the Redis of the application, ' +
        'or read the metrics of one process'
    )
  return askUsage(port, { secrets: options.rls.secrets, seconds, top, signal })
}
