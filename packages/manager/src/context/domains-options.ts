import { HostPatterns, patternOf } from '@fastify-tenancy/core/names'
import { fn, nonEmptyString, positiveInteger, timeout } from '@fastify-tenancy/core/options'
import * as v from 'valibot'

/**
 * Returns the TXT records of a name, each in its parts, or rejects, like `resolveTxt` of node:dns.
 */
export type ResolveTxt = (name: string) => Promise<readonly (readonly string[])[]>

export interface DomainsOptions {
  /** The application's own domain, `'example.com'`. Tenants cannot have it or a domain below it. */
  readonly baseDomain?: string
  /**
   * The application's host patterns: `'{tenant}--{any}.preview.dev'`. Tenants cannot have the part
   * after the placeholders either.
   */
  readonly hosts?: readonly string[]
  /**
   * DNS for the records that prove a domain. `servers`: addresses, with a port if it is not 53.
   * `timeout`: for one query. `misses`: how many times in a row {@link Domains.reverify} must not
   * find the record before the domain lapses. @default { timeout: '5s', misses: 3 } and the
   * machine's own servers
   */
  readonly dns?: {
    readonly servers?: readonly string[]
    readonly resolve?: ResolveTxt
    readonly timeout?: string
    readonly misses?: number
  }
}

/** {@link DomainsOptions} with defaults. */
export interface ResolvedDomainsOptions {
  readonly patterns: HostPatterns
  /** The application's own domains. */
  readonly bases: readonly string[]
  readonly servers: readonly string[] | undefined
  readonly resolve: ResolveTxt | undefined
  /** In milliseconds. */
  readonly timeout: number
  readonly misses: number
}

/** Schema of `dns`. */
export const dnsSchema: v.GenericSchema<unknown, Omit<ResolvedDomainsOptions, 'bases' | 'patterns'>> = v.pipe(
  v.strictObject({
    servers: v.optional(
      v.pipe(
        v.array(nonEmptyString, 'must be a list of addresses'),
        v.minLength(1, 'must name at least one server')
      )
    ),
    resolve: v.optional(fn<ResolveTxt>()),
    timeout: v.optional(timeout, '5s'),
    misses: v.optional(positiveInteger, 3)
  }, 'must be an object'),
  v.transform(({ servers, resolve, ...rest }) => ({ servers, resolve, ...rest }))
)

/**
 * Returns the application's host patterns.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function patternsOf (
  baseDomain: string | undefined,
  hosts: readonly string[],
  name: string
): HostPatterns {
  return new HostPatterns(
    [...(baseDomain === undefined ? [] : [patternOf(baseDomain, name)]), ...hosts],
    name
  )
}
