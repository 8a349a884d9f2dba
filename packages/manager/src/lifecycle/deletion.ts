import type { SqlClient } from '@fastify-tenancy/postgres/client'

/** A deletion that was asked for and not carried out: `tenancy.deletions`. */
export interface Deletion {
  /** What the tenant was before. */
  readonly was: 'provisioning' | 'active' | 'suspended'
  readonly keepsData: boolean
  readonly due: Date
}

/** The database's time, in milliseconds: it decides what is due, whatever the clock of who asks for a deletion says. */
export async function readClock (client: SqlClient): Promise<number> {
  const { rows: [row] } = await client.query<{ now: number }>(
    'select extract(epoch from pg_catalog.clock_timestamp())::float8 * 1000 as now'
  )
  return row?.now ?? Number.NaN
}

export async function readDeletion (client: SqlClient, tenant: string): Promise<Deletion | undefined> {
  const { rows: [row] } = await client.query<Omit<Deletion, 'due'> & { due: number }>(
    `
    select was, keeps_data as "keepsData", extract(epoch from due_at)::float8 * 1000 as due from tenancy.deletions where tenant_id = $1`,
    [tenant]
  )
  return row && { ...row, due: new Date(row.due) }
}

/** Writes a deletion down; a second one changes when it is due, and what is kept. */
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

/** The ids of the tenants whose time has come, the longest overdue first. */
export async function dueDeletions (client: SqlClient): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    'select tenant_id as id from tenancy.deletions where due_at <= now() order by due_at, tenant_id'
  )
  return rows.map(({ id }) => id)
}
