import type { Tenant } from '@fastify-tenancy/core'
import type { InjectOptions } from 'fastify'

import type { Application } from './application.ts'

/**
 * Returns the headers that authenticate a request: a session cookie, or a token with the tenant's
 * claim. The application must supply it, because the kit does not know how it authenticates.
 */
export type Authenticate = (
  tenant: Tenant,
  request: { readonly method: string; readonly url: string }
) => Readonly<Record<string, string>> | undefined | Promise<Readonly<Record<string, string>> | undefined>

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
