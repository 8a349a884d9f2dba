import type { Tenant } from '@fastify-tenancy/core'
import { schemaOf } from '@fastify-tenancy/postgres/placement'
import type pg from 'pg'

import type { ManagerContext } from '../context/context.ts'
import { withTenantDatabase } from './tenant-server.ts'

/** A tenant and one of its placements. A tenant that is being moved has two. */
export type TenantPlacement = Pick<Tenant, 'id' | 'isolation' | 'placement'>

/** The location of one tenant's rows. */
export interface RowPlacement {
  readonly tenant: string
  /** The owner's connections to the database. */
  readonly pool: pg.Pool
  /** The schema of the tables. */
  readonly schema: string
  /** Whether the tables are tenant tables, which contain rows of other tenants, too. */
  readonly isShared: boolean
}

/** Runs `work` with the connections to a tenant's placement. */
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

/** Whether two placements are the same tables. */
export function isSamePlacement (a: TenantPlacement, b: TenantPlacement): boolean {
  if ((a.isolation === 'database') !== (b.isolation === 'database')) return false
  if (a.isolation === 'database') return (a.placement.database ?? '') === (b.placement.database ?? '')
  return a.placement.shard === b.placement.shard && (a.isolation === 'schema') === (b.isolation === 'schema')
}
