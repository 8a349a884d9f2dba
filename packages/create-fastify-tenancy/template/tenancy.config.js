/*:: import type { ManagerOptions } from '@fastify-tenancy/manager' */
import { defineTenancy } from 'fastify-tenancy'

const { env } = process

// What the application, the manager and the command `tenancy` have in common.
// #if !ts
/** @type {import('@fastify-tenancy/manager').ManagerOptions} */
// #end
const options = {
  baseDomain: env.BASE_DOMAIN ?? 'localhost',
  isolation: '{{strategy}}',
  database: {
    // #if postgres
    // #if !database
    url: inProduction('DATABASE_URL') ?? 'pglite://./data',
    // #end
    // #if database
    url: inProduction('DATABASE_URL') ?? 'pglite://./data/registry',
    tenants: { url: inProduction('TENANTS_URL') ?? 'pglite://./data/{database}' },
    // #end
    // Logins that may do less than one for everything: `npx tenancy doctor` names the level reached.
    // #if schema
    tenantRolesUrl: env.TENANT_ROLES_URL,
    // #end
    ownerUrl: env.OWNER_URL,
    registryUrl: env.REGISTRY_URL,
    systemUrl: env.SYSTEM_URL
    // #end
    // #if !postgres
    // PGlite is PostgreSQL inside the process. Only one process at a time may open these folders.
    // #if !database
    url: 'pglite://./data',
    // #end
    // #if database
    url: 'pglite://./data/registry',
    tenants: { url: 'pglite://./data/{database}' },
    // #end
    allowEmbedded: true
    // #end
  },
  // #if redis
  redis: inProduction('REDIS_URL'),
  // #end
  rls: { secret: inProduction('TENANCY_SECRET') ?? 'a secret for development and for tests' },
  // #if shared
  tables: { tenant: ['projects', 'tasks'] }
  // #end
  // #if !shared
  // Each tenant has all tables of the migrations for itself. Tables that all tenants read are `shared`.
  tables: {}
  // #end
}/*::  satisfies ManagerOptions */

export default defineTenancy({ ...options, rateLimit: './limits.json' })

// #if shared
export const manager/*: ManagerOptions */ = { ...options, migrations: { shared: './migrations' } }
// #end
// #if !shared
export const manager/*: ManagerOptions */ = { ...options, migrations: { tenant: './migrations' } }
// #end

/** Returns a variable of the environment, which production must have. */
function inProduction (name/*: string */)/*: string | undefined */ {
  if (env[name] === undefined && env.NODE_ENV === 'production')
    throw new Error(`NODE_ENV is production: set the environment variable ${name}`)
  return env[name]
}
