import type { Tenant, TenantRef } from '@fastify-tenancy/core'
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'

import { applicationOf, tenantOf, type Application } from './isolation/application.ts'

/**
 * Returns the headers that authenticate a request: a session cookie, or a token with the tenant's
 * claim. The application must supply it, because the kit does not know how it authenticates.
 */
export type Authenticate = (
  tenant: Tenant,
  request: { readonly method: string; readonly url: string }
) => Readonly<Record<string, string>> | undefined | Promise<Readonly<Record<string, string>> | undefined>

/** Options of {@link injectAs}: those of Fastify's `inject`, and the authentication. */
export interface InjectAsOptions extends InjectOptions {
  readonly authenticate?: Authenticate
}

/**
 * Sends a request as a tenant: `inject` with the tenant's host or header, and with its credentials
 * if `authenticate` returns some.
 *
 * ```ts
 * const reply = await injectAs(app, { slug: 'acme' }, { url: '/projects' })
 * ```
 */
export async function injectAs (
  app: FastifyInstance,
  tenant: TenantRef,
  options: InjectAsOptions | string
): Promise<LightMyRequestResponse> {
  const application = await applicationOf(app)
  const { authenticate, ...request } = typeof options === 'string'
    ? { url: options } as InjectAsOptions
    : options
  const found = await tenantOf(application, tenant, 'tenant')
  return app.inject(await addressed(application, found, request, authenticate))
}

/**
 * Returns a request with the address and credentials of a tenant. Headers of the request take
 * precedence.
 */
export async function addressed (
  app: Application,
  tenant: Tenant,
  request: InjectOptions,
  authenticate: Authenticate | undefined
): Promise<InjectOptions> {
  const { host, headers } = app.tenantResolver.addressOf(tenant)
  const { method = 'GET', url = '/' } = request
  const proof = await authenticate?.(tenant, { method, url: String(url) })
  return {
    ...request,
    headers: { ...(host !== undefined && { host }), ...headers, ...proof, ...request.headers }
  }
}
