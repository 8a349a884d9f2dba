import { HostInvalidError, idProblem, slugProblem, TenantMissingError, TenantUnknownError, type TenancyError,
  type Tenant } from '@fastify-tenancy/core'
import { InternalTypeError } from '@fastify-tenancy/core/errors'
import { parseHost, type HostPatterns } from '@fastify-tenancy/core/names'
import type { FastifyRequest } from 'fastify'

import type { HostReader } from './forwarded.ts'
import type { LookupKey } from './lookup-key.ts'
import type { ResolvedResolverOptions, StrategyAnswer } from './options.ts'
import type { TenantAddress } from './resolver.ts'

/** The tenant that a request asks for, and the strategy that named it. */
export interface SourcedLookupKey extends LookupKey {
  readonly source: string
}

type StrategyStep = (request: FastifyRequest) => SourcedLookupKey | TenancyError | undefined

const mostKnown = 10_000

/**
 * Finds the tenant of a request from what is known before the body is read. Returns a look-up key,
 * an error, or `undefined` if only the claim can tell.
 */
export class Strategies {
  readonly #steps: readonly StrategyStep[]
  readonly #options: ResolvedResolverOptions
  readonly #patterns: HostPatterns
  readonly #reserved: ReadonlySet<string>
  readonly #readHost: HostReader
  readonly #usesHost: boolean
  /**
   * Look-up keys by host text. The key depends only on the options, and caching it halves the time
   * of a hit.
   */
  readonly #known = new Map<string, SourcedLookupKey>()

  constructor (options: ResolvedResolverOptions, patterns: HostPatterns, readHost: HostReader) {
    this.#options = options
    this.#patterns = patterns
    this.#reserved = new Set(options.reserved)
    this.#readHost = readHost
    this.#usesHost = options.strategies.some(strategy => strategy === 'subdomain' || strategy === 'domain')
    const steps: Record<string, StrategyStep> = {
      subdomain: request => this.#subdomain(request),
      domain: request => this.#domain(request),
      header: request => this.#named('header', request.headers[options.header]),
      path: request => this.#named('path', (request.params as Record<string, unknown> | null)?.['tenant'])
    }
    this.#steps = options.strategies.flatMap(strategy => {
      if (typeof strategy === 'function')
        return [(request: FastifyRequest) => this.#custom(strategy(request))]
      return strategy === 'claim' ? [] : [steps[strategy] as StrategyStep]
    })
  }

  ask (request: FastifyRequest): SourcedLookupKey | TenancyError | undefined {
    for (const step of this.#steps) {
      const answer = step(request)
      if (answer !== undefined) return answer
    }
    if (this.fallback !== undefined) return this.fallback
    return this.usesClaim ? undefined : this.#nobody(request)
  }

  /** Returns the look-up key of a host outside a request: `'acme.example.com:8080'`. */
  askHost (text: string): LookupKey | undefined {
    const host = parseHost(text)
    if (host === undefined) return undefined
    const label = this.#patterns.labelOf(host)
    if (label !== undefined) return this.#reserved.has(label) ? undefined : { kind: 'slug', value: label }
    return this.#patterns.covers(host) ? undefined : { kind: 'domain', value: host }
  }

  /** Returns what a request of this tenant carries, for each listed strategy. */
  addressOf ({ slug, domains }: Tenant): TenantAddress {
    const { strategies, header } = this.#options
    const host = (strategies.includes('subdomain') ? this.#patterns.hostOf(slug) : undefined) ??
      (strategies.includes('domain') ? domains[0] : undefined)
    return {
      ...(host !== undefined && { host }),
      ...(strategies.includes('header') && { headers: { [header]: slug } }),
      ...(strategies.includes('path') && { params: { tenant: slug } })
    }
  }

  /** Whether the claim may name the tenant, instead of only agreeing with the host. */
  get usesClaim (): boolean {
    return this.#options.strategies.includes('claim')
  }

  /** The tenant of requests that name none. Only for development. */
  get fallback (): SourcedLookupKey | undefined {
    const value = this.#options.fallback
    return value === undefined ? undefined : { kind: 'slug', value, source: 'fallback' }
  }

  #subdomain (request: FastifyRequest): SourcedLookupKey | TenancyError | undefined {
    const text = this.#readHost(request)
    if (text === undefined) return new HostInvalidError()
    const known = this.#known.get(text)
    if (known !== undefined) return known
    const host = parseHost(text)
    if (host === undefined) return new HostInvalidError()
    const value = this.#patterns.labelOf(host)
    if (value !== undefined)
      return this.#reserved.has(value)
        ? undefined
        : this.#remember(text, { kind: 'slug', value, source: 'subdomain' })
    // A deeper name (a.b.example.com) is unknown. Refuse it here, so that no later strategy gives
    // it a tenant.
    return this.#patterns.covers(host) && !this.#patterns.isBase(host) ? new TenantUnknownError() : undefined
  }

  #domain (request: FastifyRequest): SourcedLookupKey | TenancyError | undefined {
    const host = this.#hostOf(request)
    if (host === undefined) return new HostInvalidError()
    return this.#patterns.covers(host) ? undefined : { kind: 'domain', value: host, source: 'domain' }
  }

  #hostOf (request: FastifyRequest): string | undefined {
    const text = this.#readHost(request)
    return text === undefined ? undefined : parseHost(text)
  }

  #remember (text: string, lookup: SourcedLookupKey): SourcedLookupKey {
    if (this.#known.size >= mostKnown) this.#known.clear()
    this.#known.set(text, Object.freeze(lookup))
    return lookup
  }

  #custom (answer: StrategyAnswer): SourcedLookupKey | TenancyError | undefined {
    if (answer === undefined || answer === null) return undefined
    // Check the type, because a promise would make every request unknown, and `in` throws an
    // unclear TypeError for a bare string.
    if (typeof answer !== 'object' || 'then' in answer)
      throw new InternalTypeError(
        'a strategy function must return { slug }, { id }, { domain } or undefined, and not a promise'
      )
    if ('slug' in answer) return this.#named('function', answer.slug) ?? new TenantUnknownError()
    if ('id' in answer)
      return idProblem(answer.id) === undefined
        ? { kind: 'id', value: answer.id, source: 'function' }
        : new TenantUnknownError()
    const host = 'domain' in answer && typeof answer.domain === 'string'
      ? parseHost(answer.domain)
      : undefined
    return host === undefined || this.#patterns.covers(host)
      ? new TenantUnknownError()
      : { kind: 'domain', value: host, source: 'function' }
  }

  // A header sent twice arrives joined with a comma, which is not a valid slug. Only a valid slug
  // becomes a look-up key.
  #named (source: string, value: unknown): SourcedLookupKey | TenancyError | undefined {
    if (value === undefined || value === '') return undefined
    if (typeof value !== 'string' || this.#reserved.has(value) || slugProblem(value, []) !== undefined)
      return new TenantUnknownError()
    return { kind: 'slug', value, source }
  }

  // Returns the error of a request that names no tenant. A host of another domain is an unknown
  // tenant; the application's own hosts name none.
  #nobody (request: FastifyRequest): TenancyError {
    const host = this.#usesHost ? this.#hostOf(request) : undefined
    return host === undefined || this.#patterns.covers(host)
      ? new TenantMissingError()
      : new TenantUnknownError()
  }
}
