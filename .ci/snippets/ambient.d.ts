// What the snippets of the pages leave out: the reader's application, its tables and its functions.
declare const app: import('fastify').FastifyInstance
declare const tenancy: typeof import('fastify-tenancy').tenancy
declare const options:
  & import('@fastify-tenancy/manager').ManagerOptions
  & import('fastify-tenancy').TenancyOptions
declare const manager: import('@fastify-tenancy/manager').Manager
declare const registry: import('fastify-tenancy').TenantRegistry
declare const createManager: typeof import('@fastify-tenancy/manager').createManager
declare const tenantResolver: typeof import('@fastify-tenancy/resolver').tenantResolver
declare const tenantDatabase: typeof import('@fastify-tenancy/database').tenantDatabase

declare const assertIsolated: typeof import('@fastify-tenancy/testing').assertIsolated
interface MyDatabase {
  projects: object
  tasks: object
  countries: object
  users: object
}

// Addresses, secrets and pools.
declare const url: string
declare const ownerUrl: string
declare const registryUrl: string
declare const systemUrl: string
declare const globalUrl: string
declare const tenantRolesUrl: string
declare const euUrl: string
declare const euRolesUrl: string
declare const euOwnerUrl: string
declare const secret: string
declare const query: string
declare const oldPool: import('pg').Pool
declare const pool: import('pg').Pool
declare const deadPool: import('pg').Pool

// Functions of the reader's application.
type Db = import('fastify-tenancy').TenantKysely
declare function countEverything (db: Db): Promise<number>
declare function createProject (on: Db | string, values: unknown): Promise<{ id: string }>
declare function saveProject (db: Db, id: string, values: unknown): Promise<{ id: string }>
declare function savePrice (db: Db, id: string, values: unknown): Promise<{ id: string }>
declare function signToken (claims: object): Promise<string>
declare function page (whom: string, what: string): void
declare function login (request: import('fastify').FastifyRequest): Promise<object>
declare function myRegistry (pool: import('pg').Pool): import('fastify-tenancy').TenantRegistry
declare function buildApp (given?: object): Promise<import('fastify').FastifyInstance>
declare const sessions: {
  find: (request: import('fastify').FastifyRequest) => Promise<{ operator?: { email: string } } | undefined>
}
declare const queue: { add: (name: string, data: object) => Promise<void> }
declare const job: { data: { tenancy: import('fastify-tenancy').TenantEnvelope } }
declare const resolvers: Record<string, never>
declare const projects: import('drizzle-orm/pg-core').PgTable
declare const schema: string & Record<string, import('drizzle-orm/pg-core').PgTable>
declare const PrismaClient: new(given: object) => {
  project: { findMany: (given: object) => Promise<object[]> }
  $disconnect: () => Promise<void>
}
