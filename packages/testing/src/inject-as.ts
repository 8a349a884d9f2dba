import type { TenantRef } from '@fastify-tenancy/core'
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'

import { addressed, type Authenticate } from './isolation/addressed.ts'
import { applicationOf, tenantOf } from './isolation/application.ts'

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
