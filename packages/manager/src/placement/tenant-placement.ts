import type { Tenant } from '@fastify-tenancy/core'
import { schemaOf } from '@fastify-tenancy/postgres/placement'
import type pg from 'pg'

import type { ManagerContext } from '../context/context.ts'
import { withTenantDatabase } from './tenant-server.ts'

/** Whose rows, and which of its homes: a tenant that moves has two. */
export type TenantPlacement = Pick<Tenant, 'id' | 'isolation' | 'placement'>

/** Where the rows of one tenant are. */
export interface RowPlacement {
  readonly tenant: string
  /** The owner's connections to the database. */
  readonly pool: pg.Pool
  /** The schema of the tables. */
  readonly schema: string
  /** Whether other tenants' rows are in the same tables. */
  readonly isShared: boolean
}

/** Opens a tenant's home for as long as `work` takes. */
export async function withPlacement<T> (
  context: ManagerContext,
  tenant: TenantPlacement,
  work: (placement: RowPlacement) => Promise<T>
): Promise<T> {
  const { options: { tables }, shards } = context
  const { id, isolation, placement: { shard } } = tenant
  if (isolation === 'database')
    return withTenantDatabase(
      tenant as Tenant,
      context,
      pool => work({ tenant: id, pool, schema: tables.schema, isShared: false })
    )
  const isShared = isolation !== 'schema'
  return work({
    tenant: id,
    pool: shards.get(shard),
    schema: isShared ? tables.schema : schemaOf(tenant),
    isShared
  })
}

/** Whether two homes are the same tables. */
export function isSamePlacement (a: TenantPlacement, b: TenantPlacement): boolean {
  if ((a.isolation === 'database') !== (b.isolation === 'database')) return false
  if (a.isolation === 'database') return (a.placement.database ?? '') === (b.placement.database ?? '')
  return a.placement.shard === b.placement.shard && (a.isolation === 'schema') === (b.isolation === 'schema')
}
