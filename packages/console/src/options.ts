import { checkOptions, fn, instance } from '@fastify-tenancy/core/options'
import type { Manager } from '@fastify-tenancy/manager'
import type { FastifyReply, FastifyRequest } from 'fastify'
import * as v from 'valibot'

/**
 * The operator's name, nothing for a stranger, or the reply that was sent instead: a redirect to a
 * login page.
 */
export type Authorized = string | undefined | FastifyReply

/**
 * Says who asks: the operator's name, which the audit gets with each action. `undefined` refuses
 * with 403. To ask for credentials, throw an error with `statusCode: 401`, or send a reply and
 * return it.
 */
export type Authorize = (request: FastifyRequest, reply: FastifyReply) => Authorized | Promise<Authorized>

/** Options of the plugin. */
export interface ConsoleOptions {
  /** Called before each page, action and file. */
  readonly authorize: Authorize
  /** Reads and changes tenants. Used as it is, never closed. */
  readonly manager: Manager
  /** Where the pages are: `'/_tenancy'`. */
  readonly prefix: string
}

const schema = v.strictObject({
  authorize: fn<Authorize>(),
  manager: instance<Manager>('what createManager() returns', 'as', 'audit', 'doctor', 'search', 'status'),
  prefix: v.pipe(
    v.string("must be a path such as '/_tenancy'"),
    v.regex(/^(?:\/[\w.~-]+)+$/, "must be a path such as '/_tenancy'")
  )
}, 'must be an object')

/** @throws FST_TENANCY_OPTION_INVALID */
export function resolveConsoleOptions (input: unknown): ConsoleOptions {
  return checkOptions(schema, input) as ConsoleOptions
}
