import { isolations, type Placement } from '@fastify-tenancy/core'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import * as v from 'valibot'

import type { TenantPlacement } from '../placement/tenant-placement.ts'

/** The two placements of a tenant whose move is unfinished or not confirmed: `tenancy.moves`. */
export interface Move {
  readonly source: TenantPlacement
  readonly target: TenantPlacement
  /** Whether the target is the tenant's current placement. */
  readonly isSwitched: boolean
}

const placement = v.object({
  isolation: v.picklist(isolations),
  placement: v.pipe(
    v.object({ shard: v.string(), schema: v.optional(v.string()), database: v.optional(v.string()) }),
    v.transform(placement => placement as Placement)
  )
})

export async function readMove (client: SqlClient, id: string): Promise<Move | undefined> {
  const { rows: [row] } = await client.query<{ source: string; target: string; switched: boolean }>(
    `
    select source::text, target::text, switched_at is not null as switched
    from tenancy.moves where tenant_id = $1`,
    [id]
  )
  if (row === undefined) return undefined
  const read = (text: string): TenantPlacement => ({ id, ...v.parse(placement, JSON.parse(text)) })
  return { source: read(row.source), target: read(row.target), isSwitched: row.switched }
}

export async function writeMove (client: SqlClient, { source, target }: Move): Promise<void> {
  await client.query('insert into tenancy.moves (tenant_id, source, target) values ($1, $2, $3)', [source.id,
    ...[source, target].map(({ isolation, placement }) => JSON.stringify({ isolation, placement }))])
}

export async function markSwitched (client: SqlClient, id: string): Promise<void> {
  await client.query('update tenancy.moves set switched_at = now() where tenant_id = $1', [id])
}

export async function forgetMove (client: SqlClient, id: string): Promise<void> {
  await client.query('delete from tenancy.moves where tenant_id = $1', [id])
}
