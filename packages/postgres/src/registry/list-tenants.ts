import type { TenantFilter, TenantRecord } from '@fastify-tenancy/core'

import type { SqlClient } from '../client/sql-client.ts'
import { readTenantJson } from './tenant-record.ts'

/**
 * Returns one page of tenants in id order: those after `after`, which is `''` for the first page.
 *
 * A page starts after the last id of the previous page, so it needs no open cursor and tolerates
 * inserts. The query holds only the requested conditions, so that the planner can use an index:
 *
 * ```sql
 * select tenancy.tenant_json(tenants) as tenant from tenancy.tenants
 * where id > $1 and plan = $2 order by id limit 500
 * ```
 */
export async function listTenants (
  client: SqlClient,
  { status, plan, isolation, shard }: TenantFilter,
  after: string,
  limit: number
): Promise<TenantRecord[]> {
  const values: unknown[] = [after]
  const conditions = ['id > $1']
  const equal = Object.entries({
    plan,
    isolation,
    shard,
    status: status?.length === 1 ? status[0] : undefined
  })
  for (const [column, value] of equal) {
    if (value !== undefined) conditions.push(`${column} = $${values.push(value)}`)
  }
  if (status !== undefined && status.length !== 1) conditions.push(`status = any($${values.push(status)})`)
  const { rows } = await client.query<{ tenant: string }>(
    `select tenancy.tenant_json(tenants) as tenant from tenancy.tenants
    where ${conditions.join(' and ')} order by id limit ${limit}`,
    values
  )
  return rows.map(({ tenant }) => readTenantJson(tenant))
}
