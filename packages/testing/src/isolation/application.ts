import type { Tenant, TenantRef } from '@fastify-tenancy/core'
import type { FastifyInstance } from 'fastify'
import type { Kysely } from 'kysely'

/** A tenant's handle with any tables. */
export type Database = Kysely<Record<string, Record<string, unknown>>>

/** The part of `request.cache` that the kit attacks. */
export interface Cache {
  get(key: string): Promise<unknown>
  set(key: string, value: unknown, options?: { readonly tags?: readonly string[] }): Promise<void>
  has(key: string): Promise<boolean>
  getMany(keys: readonly string[]): Promise<unknown[]>
  delete(...keys: string[]): Promise<number>
  increment(key: string): Promise<number>
  invalidateTag(tag: string): Promise<void>
  flush(): Promise<void>
}

/** The parts of a request that name a tenant. */
interface Address {
  readonly host?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly params?: Readonly<Record<string, string>>
}

/** The tables of the suite's options. */
interface ListedTables {
  /** Tenant tables with their tenant columns. */
  readonly tenant: Readonly<Record<string, string>>
}

type OwnMembers = 'tenancy' | 'tenantResolver' | 'tenantDatabase'

/**
 * An application with the suite, with the members that the kit uses. The suite's own types of these
 * members are left out, so that the kit compiles with and without them.
 */
export interface Application extends Omit<FastifyInstance, OwnMembers> {
  readonly tenancy: {
    run<T>(
      ref: TenantRef,
      fn: (work: { readonly db: Database; readonly cache: Cache }) => Promise<T>
    ): Promise<T>
  }
  readonly tenantResolver: {
    find(ref: TenantRef): Promise<Tenant | undefined>
    addressOf(tenant: Tenant): Address
  }
  readonly tenantDatabase: { tables(): Promise<ListedTables> }
}

/**
 * Returns the application with its types.
 *
 * @throws TypeError if the suite is not registered.
 */
export async function applicationOf (app: FastifyInstance): Promise<Application> {
  await app.ready()
  if (!app.hasDecorator('tenancy') || !app.hasDecorator('tenantResolver'))
    throw new TypeError('register fastify-tenancy on the application before you test its isolation')
  return app as unknown as Application
}

/**
 * Returns the tenant of a reference.
 *
 * @throws Error if there is no such tenant, or it is not active.
 */
export async function tenantOf (app: Application, ref: TenantRef, name: string): Promise<Tenant> {
  const tenant = await app.tenantResolver.find('id' in ref ? { id: ref.id } : { slug: ref.slug })
  if (tenant === undefined)
    throw new Error(`the ${name} ${JSON.stringify(ref)} does not exist: create it before the test`)
  if (tenant.status !== 'active')
    throw new Error(`the ${name} ${tenant.slug} is ${tenant.status}: use an active tenant`)
  return tenant
}
