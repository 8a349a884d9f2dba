// A user's module: its exported functions return the suite's types without writing them.
import fastifyTenancy, { createTenancy, defineTenancy, tenancy } from 'fastify-tenancy'
import type { FastifyInstance, FastifyRequest } from 'fastify'

declare module 'fastify-tenancy' {
  interface Register {
    database: { notes: { id: number; tenant_id: string; text: string } }
    tenantTables: 'notes'
  }
}

export const options = defineTenancy({ baseDomain: 'example.com', database: 'pglite://memory' })
export const plugin = fastifyTenancy
export const same = tenancy
export const make = () => createTenancy(options)
export const scopeOf = (request: FastifyRequest) => request.tenancy
export const tenantOf = (request: FastifyRequest) => request.tenant
export const cacheOf = (request: FastifyRequest) => request.cache
export const keyvOf = (request: FastifyRequest) => request.cache.toKeyv('sessions')
export const limitsOf = (request: FastifyRequest) => request.tenantLimits
export const notesOf = (request: FastifyRequest) => request.db.selectFrom('notes').selectAll().execute()
export const databaseOf = (request: FastifyRequest) => request.db
export const workOf = (request: FastifyRequest) => request.tenancy.detach()
export const resultOf = (app: FastifyInstance) => app.tenancy.run({ slug: 'acme' }, work => work)
export const countsOf = (app: FastifyInstance) => app.tenancy.forEach({}, work => work.tenant)
export const tenancyOf = (app: FastifyInstance) => app.tenancy
export const healthOf = (app: FastifyInstance) => app.tenancy.health()
export const rateHealthOf = (app: FastifyInstance) => app.tenantRateLimit.health()
export const cacheHealthOf = (app: FastifyInstance) => app.tenantCache.health()
export const resolverOf = (app: FastifyInstance) => app.tenantResolver
