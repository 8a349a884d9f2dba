import type { Isolation } from '@fastify-tenancy/core'

import type { ManagerContext } from '../context/context.ts'

/** Work on a tenant that is not finished: rows of `tenancy.moves` and `tenancy.deletions`. */
export interface UnfinishedWork {
  /** The id of the tenant. */
  readonly tenant: string
  /** A move that is interrupted or not confirmed. */
  readonly move?: UnfinishedMove
  /** A deletion whose data is not purged yet. */
  readonly deletion?: { readonly due: Date; readonly keepsData: boolean }
}

export interface UnfinishedMove {
  readonly from: { readonly isolation: Isolation; readonly shard: string }
  readonly to: { readonly isolation: Isolation; readonly shard: string }
  /** Whether the tenant is served from the target, so that only the old copy is left. */
  readonly isSwitched: boolean
}

/**
 * Lists the tenants whose move is not confirmed or whose deletion is not purged, by id.
 *
 * ```sql
 * select … from tenancy.moves full join tenancy.deletions using (tenant_id)
 * ```
 */
export async function listUnfinished (
  { shards }: Pick<ManagerContext, 'shards'>
): Promise<readonly UnfinishedWork[]> {
  const { rows } = await shards.get('default').query<{
    tenant: string
    from: UnfinishedMove['from'] | null
    to: UnfinishedMove['to'] | null
    switched: boolean
    due: number | null
    keeps: boolean | null
  }>(`
    select tenant_id as tenant, keeps_data as keeps, extract(epoch from due_at)::float8 * 1000 as due,
      switched_at is not null as switched, ${target('source')} as "from", ${target('target')} as "to"
    from tenancy.moves full join tenancy.deletions using (tenant_id) order by tenant_id`)
  return rows.map(({ tenant, from, to, switched, due, keeps }) => ({
    tenant,
    ...(from !== null && to !== null && { move: { from, to, isSwitched: switched } }),
    ...(due !== null && { deletion: { due: new Date(due), keepsData: keeps === true } })
  }))
}

function target (column: 'source' | 'target'): string {
  return `case when ${column} is not null then
    json_build_object('isolation', ${column} ->> 'isolation', 'shard', ${column} #>> '{placement,shard}') end`
}
