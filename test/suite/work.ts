// Work outside requests, with the tests' tables.
import { createTenant, memoryRegistry, type TenantRegistry, type TenantWork } from '@fastify-tenancy/core'
import type { Kysely } from 'kysely'

import type { Provisioned, Rows } from '../support/tenants.ts'

/** `db` of a run, with the tests' tables. */
export function dbIn (work: Pick<TenantWork, 'db'>): Kysely<Rows> {
  return work.db as unknown as Kysely<Rows>
}

export interface Registered {
  readonly registry: TenantRegistry
  /** Writes a tenant's status, past everybody. */
  setStatus (id: string, status: 'active' | 'suspended' | 'deleting' | 'deleted' | 'provisioning'): Promise<void>
}

/** acme, globex and initech are active; hooli is suspended, gone is deleted. */
export function registered (): Registered {
  const registry = memoryRegistry([
    ...['acme', 'globex', 'initech'].map(slug => createTenant({ id: `id-${slug}`, slug, plan: slug === 'globex' ? 'pro' : 'free' })),
    createTenant({ id: 'id-hooli', slug: 'hooli', status: 'suspended' }),
    createTenant({ id: 'id-gone', slug: 'gone', status: 'deleted' })
  ])
  return {
    registry,
    async setStatus (id, status) {
      const tenant = await registry.findById(id)
      await registry.update(id, tenant?.version ?? 0, { status })
    }
  }
}

/** What the table holds, read as the superuser. */
export async function bodies (on: Provisioned): Promise<string[]> {
  return (await on.admin<{ body: string }>('select body from notes order by tenant_id, id')).map(({ body }) => body)
}
