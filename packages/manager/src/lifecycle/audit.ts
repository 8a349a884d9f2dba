import type { TenantChanges, TenantRecord } from '@fastify-tenancy/core'
import { inTransaction, postgresRegistry, type SqlClient } from '@fastify-tenancy/database'

import type { ManagerContext } from '../context.ts'
import { withClient } from '../shard-pools.ts'

/** Writes down what was done to a tenant; the login is the actor. Never a secret. */
export async function audit (client: SqlClient, tenant: string, action: string, details: object = {}): Promise<void> {
  await client.query('insert into tenancy.audit (tenant_id, action, details) values ($1, $2, $3)', [tenant, action, JSON.stringify(details)])
}

/**
 * Changes a tenant's record if it is still as it was read, and writes that down, both or neither.
 *
 * @param also more to write in the same transaction
 * @throws FST_TENANCY_TENANT_CONFLICT when somebody else has changed it since
 */
export async function changeTenant ({ shards }: ManagerContext, { id, version }: TenantRecord, changes: TenantChanges, action: string, details: object = {}, also?: (client: SqlClient) => Promise<unknown>): Promise<TenantRecord> {
  return withClient(shards.get('default'), client => inTransaction(client, async () => {
    const tenant = await postgresRegistry(client).update(id, version, changes)
    await audit(client, id, action, details)
    await also?.(client)
    return tenant
  }))
}
