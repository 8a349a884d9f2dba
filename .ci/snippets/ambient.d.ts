// What the snippets of the pages leave out: the reader's application, its tables and its functions.
import type { tenantDatabase as databasePlugin } from '@fastify-tenancy/database'
import type { createManager as makeManager, Manager, ManagerOptions } from '@fastify-tenancy/manager'
import type { tenantResolver as resolverPlugin } from '@fastify-tenancy/resolver'
import type { assertIsolated as assertion } from '@fastify-tenancy/testing'
import type { PgTable } from 'drizzle-orm/pg-core'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { tenancy as suite, TenancyOptions, TenantEnvelope, TenantKysely,
  TenantRegistry } from 'fastify-tenancy'
import type { Pool } from 'pg'

declare global {
  const app: FastifyInstance
  const tenancy: typeof suite
  const options: ManagerOptions & TenancyOptions
  const manager: Manager
  const registry: TenantRegistry
  const createManager: typeof makeManager
  const tenantResolver: typeof resolverPlugin
  const tenantDatabase: typeof databasePlugin
  const assertIsolated: typeof assertion
  interface MyDatabase {
    projects: object
    tasks: object
    countries: object
    users: object
  }

  // Addresses, secrets and pools.
  const url: string
  const ownerUrl: string
  const registryUrl: string
  const systemUrl: string
  const globalUrl: string
  const tenantRolesUrl: string
  const euUrl: string
  const euRolesUrl: string
  const euOwnerUrl: string
  const secret: string
  const query: string
  const oldPool: Pool
  const pool: Pool
  const deadPool: Pool

  // Functions of the reader's application.
  function countEverything (db: TenantKysely): Promise<number>
  function createProject (on: TenantKysely | string, values: unknown): Promise<{ id: string }>
  function saveProject (db: TenantKysely, id: string, values: unknown): Promise<{ id: string }>
  function savePrice (db: TenantKysely, id: string, values: unknown): Promise<{ id: string }>
  function signToken (claims: object): Promise<string>
  function page (whom: string, what: string): void
  function login (request: FastifyRequest): Promise<object>
  function myRegistry (pool: Pool): TenantRegistry
  function buildApp (given?: object): Promise<FastifyInstance>
  const sessions: {
    find: (request: FastifyRequest) => Promise<{ operator?: { email: string } } | undefined>
  }
  const queue: { add: (name: string, data: object) => Promise<void> }
  const job: { data: { tenancy: TenantEnvelope } }
  const resolvers: Record<string, never>
  const projects: PgTable
  const schema: string & Record<string, PgTable>
  const PrismaClient: new(given: object) => {
    project: { findMany: (given: object) => Promise<object[]> }
    $disconnect: () => Promise<void>
  }
}
