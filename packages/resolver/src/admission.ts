import { channels, TenantMismatchError, TenantMissingError, TenantUnknownError, type RequestTenancy,
  type ResolvedRouteTenancy, type TenantRecord } from '@fastify-tenancy/core'
import { InternalError } from '@fastify-tenancy/core/errors'
import { statusRefusal, TenantScope } from '@fastify-tenancy/core/scope'
import type { FastifyReply, FastifyRequest } from 'fastify'

import { Creation } from './creation.ts'
import type { TenantLookup } from './lookup.ts'
import type { Claim, ResolvedResolverOptions } from './options.ts'
import type { TenantResolver } from './resolver.ts'
import type { SourcedLookupKey, Strategies } from './strategies.ts'

/**
 * Decides about one request. The request gets a scope, or a refusal that a later hook sends, or
 * neither if its route needs no tenant. Methods of this class neither throw nor reply. They return
 * a promise only if a store must be asked.
 */
export class Admission {
  readonly #lookup: TenantLookup
  readonly #strategies: Strategies
  readonly #claim: Claim | undefined
  readonly #creation: Creation | undefined

  readonly #watch: TenantResolver['watch']
  readonly #prolonged: TenantResolver['prolonged']

  constructor (
    resolver: TenantResolver,
    strategies: Strategies,
    { claim, createIfMissing }: Pick<ResolvedResolverOptions, 'claim' | 'createIfMissing'>
  ) {
    this.#creation = createIfMissing && new Creation(createIfMissing)
    this.#lookup = resolver.lookup
    this.#watch = resolver.watch
    this.#prolonged = resolver.prolonged
    this.#strategies = strategies
    this.#claim = claim
  }

  /** Decides by the host, in `onRequest`, before the client is authenticated. */
  byHost (request: FastifyRequest, reply: FastifyReply, tenancy: RequestTenancy): Promise<void> | undefined {
    const lookup = caught(() => this.#strategies.ask(request))
    if (lookup instanceof Error) {
      refuse(tenancy, lookup)
    } else if (lookup !== undefined) {
      const known = this.#lookup.peek(lookup)
      if (!known) return this.#resolve(request, reply, tenancy, lookup)
      this.#admit(request, reply, tenancy, known, lookup.source)
    }
    return undefined
  }

  /**
   * Decides by the claim, in `preHandler`, after authentication. The claim must agree with the
   * host's tenant, or it names the tenant itself.
   */
  byClaim (request: FastifyRequest, reply: FastifyReply, tenancy: RequestTenancy): Promise<void> | undefined {
    const { route, scope } = tenancy
    const input: unknown = caught(() => this.#claim?.(request))
    const claim = typeof input === 'string' && input !== '' ? input : undefined
    if (input instanceof Error) {
      tenancy.refusal = input
    } else if (scope !== undefined) {
      if (route.agreement && !agrees(claim, scope.tenant, route)) tenancy.refusal = new TenantMismatchError()
    } else if (this.#strategies.usesClaim) {
      if (claim !== undefined) return this.#resolveClaim(request, reply, tenancy, claim)
      if (route.mode === 'required')
        tenancy.refusal = route.agreement
          ? new TenantMismatchError()
          : new TenantMissingError()
    }
    return undefined
  }

  async #resolve (
    request: FastifyRequest,
    reply: FastifyReply,
    tenancy: RequestTenancy,
    lookup: SourcedLookupKey
  ): Promise<void> {
    try {
      const tenant = await this.#lookup.find(lookup, request.ip)
      const { fallback } = this.#strategies
      if (tenant === undefined && lookup.source === 'domain' && fallback !== undefined) {
        await this.#resolve(request, reply, tenancy, fallback)
        return
      }
      this.#admit(request, reply, tenancy, tenant, lookup.source)
      // The client left during the look-up, when `onRequestAbort` had no scope to abort yet.
      if (reply.raw.destroyed) tenancy.scope?.abort(new InternalError('the client has gone'))
    } catch (error) {
      refuse(tenancy, asError(error))
    }
  }

  #admit (
    request: FastifyRequest,
    reply: FastifyReply,
    tenancy: RequestTenancy,
    tenant: TenantRecord | undefined,
    source: string
  ): void {
    const refusal = tenant && statusRefusal(tenant.status, tenancy.route.statuses)
    // A tenant that is being deleted is treated as unknown.
    if (tenant === undefined || refusal instanceof TenantUnknownError) {
      refuse(tenancy, refusal ?? new TenantUnknownError())
      return
    }
    // Fastify logs "request completed" with the reply's logger.
    request.log = reply.log = request.log.child({ tenant: tenant.id })
    // A refused tenant gets a scope too, so that the limiter and the log know the request's tenant.
    const { statuses } = tenancy.route
    tenancy.scope = new TenantScope(
      tenant,
      request.log,
      scope => this.#watch(scope, statuses),
      this.#prolonged
    )
    tenancy.source = source
    tenancy.refusal = refusal
    if (refusal === undefined && channels.resolved.hasSubscribers)
      channels.resolved.publish({ tenant, source, request })
    if (this.#claim !== undefined && source !== 'claim' && tenancy.route.agreement)
      tenancy.seemsToAgree = () => this.#seemsToAgree(request, tenant, tenancy.route)
  }

  #seemsToAgree (request: FastifyRequest, tenant: TenantRecord, route: ResolvedRouteTenancy): boolean {
    const claim: unknown = caught(() => this.#claim?.(request))
    return typeof claim === 'string' && claim !== '' && agrees(claim, tenant, route)
  }

  // The registry keeps ids and slugs distinct, so a claim matches at most one tenant.
  async #resolveClaim (
    request: FastifyRequest,
    reply: FastifyReply,
    tenancy: RequestTenancy,
    claim: string
  ): Promise<void> {
    try {
      const tenant = await this.#findClaimed(claim) ?? await this.#create(request, tenancy, claim)
      this.#admit(request, reply, tenancy, tenant, 'claim')
    } catch (error) {
      refuse(tenancy, asError(error))
    }
  }

  async #findClaimed (claim: string): Promise<TenantRecord | undefined> {
    return await this.#lookup.find({ kind: 'id', value: claim }) ??
      this.#lookup.find({ kind: 'slug', value: claim })
  }

  // On an unmatched URL no tenant is created, because authentication hooks of routes have not run
  // for it.
  async #create (
    request: FastifyRequest,
    { route }: RequestTenancy,
    claim: string
  ): Promise<TenantRecord | undefined> {
    if (this.#creation === undefined || route.mode !== 'required' || request.is404) return undefined
    if (!await this.#creation.make(claim, request)) return undefined
    this.#lookup.forget({ id: claim, slugs: [claim], domains: [] })
    return this.#findClaimed(claim)
  }
}

function agrees (
  claim: string | undefined,
  tenant: { id: string; slug: string },
  route: ResolvedRouteTenancy
): boolean {
  if (claim === undefined) return route.mode === 'optional'
  return claim === tenant.id || claim === tenant.slug
}

function refuse (tenancy: RequestTenancy, error: Error): void {
  const isNobody = error instanceof TenantMissingError || error instanceof TenantUnknownError
  if (tenancy.route.mode === 'required' || !isNobody) tenancy.refusal = error
}

function caught<T> (read: () => T): T | Error {
  try {
    return read()
  } catch (error) {
    return asError(error)
  }
}

function asError (thrown: unknown): Error {
  return thrown instanceof Error
    ? thrown
    : new InternalError("a function in the resolver's options threw a value that is not an Error", {
      cause: thrown
    })
}
