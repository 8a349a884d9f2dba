import type { SqlClient } from '@fastify-tenancy/postgres/client'

/** A deletion that was requested and not purged yet: `tenancy.deletions`. */
export interface Deletion {
  /** The tenant's status before the deletion. */
  readonly was: 'provisioning' | 'active' | 'suspended'
  readonly keepsData: boolean
  readonly due: Date
}

/**
 * Returns the database's time in milliseconds. It decides what is due, so clocks of other machines
 * have no influence.
 */
export async function readClock (client: SqlClient): Promise<number> {
  const { rows: [row] } = await client.query<{ now: number }>(
    'select extract(epoch from pg_catalog.clock_timestamp())::float8 * 1000 as now'
  )
  return row?.now ?? Number.NaN
}

export async function readDeletion (client: SqlClient, tenant: string): Promise<Deletion | undefined> {
  const { rows: [row] } = await client.query<Omit<Deletion, 'due'> & { due: number }>(
    `
    select was, keeps_data as "keepsData", extract(epoch from due_at)::float8 * 1000 as due
    from tenancy.deletions where tenant_id = $1`,
    [tenant]
  )
  return row && { ...row, due: new Date(row.due) }
}

/** Stores a deletion. A second one changes the due time and what is kept. */
export async function writeDeletion (
  client: SqlClient,
  tenant: string,
  { was, keepsData, due }: Deletion
): Promise<void> {
  await client.query(
    `
    insert into tenancy.deletions (tenant_id, was, keeps_data, due_at) values ($1, $2, $3, $4)
    on conflict (tenant_id) do update set keeps_data = excluded.keeps_data, due_at = excluded.due_at`,
    [tenant, was, keepsData, due.toISOString()]
  )
}

export async function forgetDeletion (client: SqlClient, tenant: string): Promise<void> {
  await client.query('delete from tenancy.deletions where tenant_id = $1', [tenant])
}

/** Returns the ids of tenants whose deletion is due, the longest overdue first. */
export async function dueDeletions (client: SqlClient): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    'select tenant_id as id from tenancy.deletions where due_at <= now() order by due_at, tenant_id'
  )
  return rows.map(({ id }) => id)
}
