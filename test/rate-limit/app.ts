// An app with a stub resolver. The header x-tenant names the tenant by slug, and x-claim names one
// in a later hook.
import Fastify, { type FastifyInstance, type FastifyPluginAsync, type FastifyRequest,
  type FastifyServerOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { Test } from 'tap'

import { toTenant, TenantSuspendedError, TenantUnknownError, type Tenant } from '@fastify-tenancy/core'
import { RequestTenancy, resolveRouteTenancy, TenantScope } from '@fastify-tenancy/core/scope'
import rateLimit, { type RateLimitOptions } from '@fastify-tenancy/rate-limit'

export function tenant (slug: string, plan = 'free', id = `id-of-${slug}`): Tenant {
  return toTenant({ id, slug, plan })
}

/** Tenants by the name that x-tenant gives. */
export type Tenants = Record<string, Tenant>

export function stubResolver (tenants: Tenants): FastifyPluginAsync {
  const plugin: FastifyPluginAsync = async app => {
    app.decorateRequest('tenancy')
    app.addHook('onRequest', async request => {
      const tenancy = new RequestTenancy(resolveRouteTenancy(request.routeOptions.config.tenancy))
      Object.assign(request, { tenancy })
      if (tenancy.route.mode === 'off') return
      if (request.headers['x-claim'] !== undefined) return
      const found = tenants[String(request.headers['x-tenant'])]
      if (found === undefined) {
        if (tenancy.route.mode === 'required') tenancy.refusal = new TenantUnknownError()
        return
      }
      tenancy.scope = new TenantScope(found, request.log)
      if (found.status === 'suspended') tenancy.refusal = new TenantSuspendedError()
    })
    // As with strategy claim, the tenant is named after authentication, in the last preHandler of a
    // route.
    app.addHook('onRoute', route => {
      route.preHandler = [route.preHandler ?? [], async (request: FastifyRequest) => {
        const found = tenants[String(request.headers['x-claim'])]
        if (found !== undefined) request.tenancy.scope = new TenantScope(found, request.log)
      }].flat()
    })
  }
  return fp(plugin, { name: '@fastify-tenancy/resolver', fastify: '5.x' })
}

export interface Setup extends FastifyServerOptions {
  readonly tenants?: Tenants
  readonly routes?: (app: FastifyInstance) => void
}

/** An app with the route GET /, ready; closed when the test ends. */
export async function startApp (
  t: Test,
  options: RateLimitOptions | string,
  { tenants = { acme: tenant('acme'), globex: tenant('globex', 'pro') }, routes, ...server }: Setup = {}
): Promise<FastifyInstance> {
  const app = Fastify(server)
  t.teardown(() => app.close())
  await app.register(stubResolver(tenants))
  const needsName = typeof options === 'object' && options.redis !== undefined && !('namespace' in options)
  await app.register(rateLimit, {
    ...(typeof options === 'string' ? { file: options } : options),
    ...(needsName && { namespace: 'test' })
  })
  app.get('/', async request => ({ tenant: request.tenancy.scope?.tenant.slug ?? null }))
  routes?.(app)
  await app.ready()
  return app
}

export interface Answer {
  readonly status: number
  readonly headers: Record<string, string | string[] | number | undefined>
  readonly body: unknown
}

export async function get (
  app: FastifyInstance,
  slug: string | undefined,
  url = '/',
  headers: Record<string, string> = {},
  from = '127.0.0.1'
): Promise<Answer> {
  const response = await app.inject({
    url,
    headers: { ...(slug !== undefined && { 'x-tenant': slug }), ...headers },
    remoteAddress: from
  })
  return { status: response.statusCode, headers: response.headers, body: response.json() }
}

/** Returns the statuses of `count` sequential requests. */
export async function statuses (
  app: FastifyInstance,
  slug: string | undefined,
  count: number,
  url = '/',
  from?: string
): Promise<number[]> {
  const all: number[] = []
  for (let i = 0; i < count; i++) all.push((await get(app, slug, url, {}, from)).status)
  return all
}
