import createError, { type FastifyError } from '@fastify/error'

/**
 * The constructors of codes that more than one package throws. A code never changes its meaning,
 * and a retired code is never reused. Messages contain no other tenant's name, no SQL, no host and
 * no key.
 */

/** A constructor of one code's errors. `cause` holds the original error, for the log only. */
export type TenancyErrorConstructor = new(message?: string, options?: { cause?: unknown }) => TenancyError

/** An error of the suite. */
export interface TenancyError extends FastifyError {
  /** Whole seconds after which the same request may succeed; sent as the header `retry-after`. */
  retryAfter?: number
  /**
   * The headers that Fastify's error handler sends with this error: `retry-after`, if it is set.
   */
  readonly headers?: Readonly<Record<string, string>>
}

/** The text in replies by error constructor, independent of the error's own text. */
const publicTexts = new WeakMap<object, string>()

/** The text in replies if the code's own sentence is advice for developers. */
const internal = 'Internal Server Error'

/**
 * An error without a code that a package of the suite throws at run time. Replies do not contain
 * its text; the caught error, its cause and the log do.
 */
export class InternalError extends Error {
  override readonly name = 'InternalError'
}

/** Like {@link InternalError}, for an argument of the wrong type. An instance of `TypeError`. */
export class InternalTypeError extends TypeError {
  override readonly name = 'InternalTypeError'
}

/**
 * Defines the constructor of one code's errors, for a package's `errors.ts`.
 *
 * @param retryAfter whole seconds, if the request may succeed later.
 * @param publicText the text in replies, see {@link toPublicError}. @default the message
 */
export function defineError (
  code: string,
  statusCode: number,
  message: string,
  retryAfter?: number,
  publicText: string = message
): TenancyErrorConstructor {
  const Base = createError(code, '%s', statusCode)
  const Constructor = class extends Base {
    retryAfter?: number
    constructor (text: string = message, options?: { cause?: unknown }) {
      super(text)
      if (options?.cause !== undefined)
        Object.defineProperty(this, 'cause', {
          value: options.cause,
          enumerable: false,
          configurable: true,
          writable: true
        })
      if (retryAfter !== undefined) this.retryAfter = retryAfter
    }

    override toString (): string {
      return `${this.name}: ${this.message}`
    }

    get headers (): Record<string, string> | undefined {
      return this.retryAfter === undefined ? undefined : { 'retry-after': String(this.retryAfter) }
    }
  } as unknown as TenancyErrorConstructor
  // NestJS recognises Fastify's errors by the constructor's name. It answers all others with 500.
  Object.defineProperty(Constructor, 'name', { value: 'FastifyError' })
  // `name` contains class and code, so that the stack shows both. `Base` assigns 'FastifyError',
  // which the setter ignores.
  const name = `${classNameOf(code)} [${code}]`
  Object.defineProperty(Constructor.prototype, 'name', { get: () => name, set: () => {}, configurable: true })
  publicTexts.set(Constructor, publicText)
  return Constructor
}

/** Returns `TenantUnknownError` for `FST_TENANCY_TENANT_UNKNOWN`. */
function classNameOf (code: string): string {
  const words = code.replace(/^FST_TENANCY_/, '').toLowerCase().split('_')
  return `${words.map(word => word.charAt(0).toUpperCase() + word.slice(1)).join('')}Error`
}

/**
 * Returns the error that a client may see: same code and status, the code's general sentence, and
 * the original as `cause` for the log. This hides texts for developers, which name tables,
 * functions and options.
 *
 * Other errors, and errors that already have the general sentence, are returned unchanged.
 */
export function toPublicError<T> (error: T): T | TenancyError {
  if (!(error instanceof Error)) return error
  if (error instanceof InternalError || error instanceof InternalTypeError)
    return new UnexpectedError(undefined, { cause: error })
  const text = publicTexts.get(error.constructor)
  // A 429 is returned unchanged: its text holds only seconds, and a flood of 429s has to be cheap.
  if (text === undefined || error.message === text || error instanceof RateLimitedError) return error
  const { retryAfter } = error as Partial<TenancyError>
  const shown = new (error.constructor as TenancyErrorConstructor)(text, { cause: error })
  return retryAfter === undefined ? shown : Object.assign(shown, { retryAfter })
}

/** 500: the reply to an error without a code. */
const UnexpectedError: TenancyErrorConstructor = defineError('FST_TENANCY_INTERNAL_ERROR', 500, internal)

/**
 * 500, at registration: an option is wrong. The message names it, the expected value and the actual
 * value.
 */
export const OptionInvalidError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_OPTION_INVALID',
  500,
  'an option is invalid',
  undefined,
  internal
)
/** 400: the host is malformed, over-long, duplicate or ambiguous, or an IP literal. */
export const HostInvalidError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_HOST_INVALID',
  400,
  'The host of this request is not valid'
)
/** 400: no strategy named a tenant, because the host is the base domain or a reserved label. */
export const TenantMissingError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_TENANT_MISSING',
  400,
  'This request names no tenant'
)
/** 404: there is no such tenant, or it is being deleted. */
export const TenantUnknownError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_TENANT_UNKNOWN',
  404,
  'There is no such tenant'
)
/** 403: the tenant is suspended and the route does not serve suspended tenants. */
export const TenantSuspendedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_TENANT_SUSPENDED',
  403,
  'This tenant is suspended'
)
/** 403: the host and the verified claim name different tenants, or the claim is missing. */
export const TenantMismatchError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_TENANT_MISMATCH',
  403,
  'The credentials do not belong to this tenant'
)
/**
 * 503: the tenant is being provisioned or moved, or lacks the migration that this version needs.
 */
export const TenantNotReadyError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_TENANT_NOT_READY',
  503,
  'This tenant is not ready yet',
  5
)
/** 409: the slug, id or domain is taken, or breaks its rule. */
export const TenantConflictError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_TENANT_CONFLICT',
  409,
  'The slug, id or domain is taken'
)
/** 503: the registry cannot be reached, and nothing usable is cached. */
export const RegistryUnavailableError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_REGISTRY_UNAVAILABLE',
  503,
  'The tenant cannot be looked up at the moment',
  1
)
/** 429: the tenant, the client or the route is over its limit. */
export const RateLimitedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_RATE_LIMITED',
  429,
  'Rate limit exceeded'
)
/** 500: a handle was used after its request or run had ended. */
export const ScopeClosedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_SCOPE_CLOSED',
  500,
  'This tenant handle was used after its request or run had ended: await all work, or prolong it ' +
    'with request.tenancy.waitUntil()',
  undefined,
  internal
)
/** 500: a tenant handle was used without a tenant. */
export const ContextMissingError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_CONTEXT_MISSING',
  500,
  'There is no tenant here: the route is optional or off for tenancy, or the code runs outside a request',
  undefined,
  internal
)

/** Returns a {@link TenantConflictError} with a reason. */
export function tenantConflict (why: string): TenancyError {
  return new TenantConflictError(why)
}

/**
 * Returns the error of a request over its limit.
 *
 * @param retryAfter whole seconds until the same request would be admitted if no other came.
 */
export function rateLimited (retryAfter: number): TenancyError {
  // Omit the stack, because it costs as much as the rest of the request, and refusals under attack
  // have to be cheap.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return Object.assign(new RateLimitedError(`Rate limit exceeded, retry in ${retryAfter} s`), {
      retryAfter
    })
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}
