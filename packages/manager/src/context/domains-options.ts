import { fn, HostPatterns, nonEmptyString, patternOf, positiveInteger, timeout } from '@fastify-tenancy/core'
import * as v from 'valibot'

/** Answers the texts of a name's TXT records, each in its parts, as `resolveTxt` of node:dns does; rejects as that does. */
export type ResolveTxt = (name: string) => Promise<readonly (readonly string[])[]>

export interface DomainsOptions {
  /** `'example.com'`: the application's own, at or below which no tenant may have a domain. */
  readonly baseDomain?: string
  /** The application's host patterns: `'{tenant}--{any}.preview.dev'`. What follows the placeholders is its own, too. */
  readonly hosts?: readonly string[]
  /**
   * Who is asked for the records that prove a domain. `servers`: addresses, with a port where it is not 53. `timeout`: of one question.
   * `misses`: how many times in a row {@link Domains.reverify} must find the record missing before the domain lapses.
   * @default { timeout: '5s', misses: 3 } and the machine's own servers
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
  /** The domains that are the application's own. */
  readonly bases: readonly string[]
  readonly servers: readonly string[] | undefined
  readonly resolve: ResolveTxt | undefined
  /** In milliseconds. */
  readonly timeout: number
  readonly misses: number
}

/** `dns` */
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
 * The host patterns of the application.
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
