import type { Tenant } from '@fastify-tenancy/core'
import { schemaOf } from '@fastify-tenancy/database'
import type pg from 'pg'

import type { ManagerContext } from '../context.ts'
import { withTenantDatabase } from '../tenant-server.ts'

/** Whose rows, and which of its homes: a tenant that moves has two. */
export type Housed = Pick<Tenant, 'id' | 'isolation' | 'placement'>

/** Where the rows of one tenant are. */
export interface Home {
  readonly tenant: string
  /** The owner's connections to the database. */
  readonly pool: pg.Pool
  /** The schema of the tables. */
  readonly schema: string
  /** Whether other tenants' rows are in the same tables. */
  readonly isShared: boolean
}

/** Opens a tenant's home for as long as `work` takes. */
export async function withHome<T> (
  context: ManagerContext,
  tenant: Housed,
  work: (home: Home) => Promise<T>
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
export function isSameHome (a: Housed, b: Housed): boolean {
  if ((a.isolation === 'database') !== (b.isolation === 'database')) return false
  if (a.isolation === 'database') return (a.placement.database ?? '') === (b.placement.database ?? '')
  return a.placement.shard === b.placement.shard && (a.isolation === 'schema') === (b.isolation === 'schema')
}
