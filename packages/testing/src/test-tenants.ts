import type { Tenant, TenantRef } from '@fastify-tenancy/core'
import { randomBytes } from 'node:crypto'

import { tagged } from './find-foreign.ts'

/** The part of `@fastify-tenancy/manager` that creates and removes tenants. */
export interface TenantMaker {
  create(input: { readonly slug: string; readonly name: string; readonly plan?: string }): Promise<Tenant>
  delete(ref: TenantRef): Promise<unknown>
  purge(ref: TenantRef): Promise<unknown>
}

/** Options of {@link createTestTenants}. */
export interface TestTenantsOptions {
  /**
   * Fills a tenant with rows; `tag(17)` is a value that names the tenant: `'acme:17'`. @default no
   * rows are written
   */
  readonly seed?: (
    input: { readonly tenant: Tenant; readonly tag: (n: number | string) => string }
  ) => unknown
  /** The plan of all these tenants. @default the manager's */
  readonly plan?: string
}

/** Tenants of one test. */
export interface TestTenants extends Iterable<Tenant> {
  readonly all: readonly Tenant[]
  /** The slugs, for {@link findForeign} and {@link assertOwn}. */
  readonly names: readonly string[]
  /** Removes the tenants and their data. Idempotent. */
  dispose(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Creates tenants with random slugs, and fills them with tagged values.
 *
 * ```ts
 * await using tenants = await createTestTenants(manager, 2, {
 *   seed: ({ tenant, tag }) =>
 *     app.tenancy.run({ id: tenant.id }, ({ db }) =>
 *       db.insertInto('projects').values({ name: tag(1) }).execute())
 * })
 * const [victim, attacker] = tenants
 * ```
 */
export async function createTestTenants (
  manager: TenantMaker,
  count: number,
  { seed, plan }: TestTenantsOptions = {}
): Promise<TestTenants> {
  if (!Number.isSafeInteger(count) || count < 1)
    throw new RangeError(`createTestTenants() creates at least 1 tenant, got ${count}`)
  const all: Tenant[] = []
  const dispose = async (): Promise<void> => {
    for (const { id } of all.splice(0)) {
      await manager.delete({ id })
      await manager.purge({ id })
    }
  }
  try {
    for (let n = 1; n <= count; n++) {
      const slug = `test-${n}-${randomBytes(5).toString('hex')}`
      const tenant = await manager.create({
        slug,
        name: `Test tenant ${slug}`,
        ...(plan !== undefined && { plan })
      })
      all.push(tenant)
      await seed?.({ tenant, tag: tag => tagged(tenant.slug, tag) })
    }
  } catch (error) {
    await dispose()
    throw error
  }
  const made = [...all]
  return {
    all: made,
    names: made.map(({ slug }) => slug),
    dispose,
    [Symbol.iterator]: () => made[Symbol.iterator](),
    [Symbol.asyncDispose]: dispose
  }
}
