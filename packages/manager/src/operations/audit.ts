import type { TenantChanges, TenantRecord } from '@fastify-tenancy/core'
import { inTransaction, type SqlClient } from '@fastify-tenancy/postgres/client'
import { postgresRegistry } from '@fastify-tenancy/postgres/registry'

import { tellChange } from '../context/announce-change.ts'
import type { ManagerContext } from '../context/context.ts'
import { withClient } from '../context/shard-pools.ts'

/**
 * Writes down what was done to a tenant, by the actor of {@link Manager.as}, or else by the login. With an actor, `details.login`
 * keeps the login. Never a secret.
 */
export async function audit (
  { actor }: Pick<ManagerContext, 'actor'>,
  client: SqlClient,
  tenant: string,
  action: string,
  details: object = {}
): Promise<void> {
  if (actor === undefined) {
    await client.query('insert into tenancy.audit (tenant_id, action, details) values ($1, $2, $3)', [tenant,
      action, JSON.stringify(details)])
    return
  }
  await client.query(
    `insert into tenancy.audit (tenant_id, action, details, actor)
    values ($1, $2, $3::jsonb || jsonb_build_object('login', session_user), $4)`,
    [tenant, action, JSON.stringify(details), actor]
  )
}

/**
 * Changes a tenant's record if it is still as it was read, and writes that down, both or neither. Then every process is told.
 *
 * @param also more to write in the same transaction
 * @throws FST_TENANCY_TENANT_CONFLICT when somebody else has changed it since
 */
export async function changeTenant (
  context: ManagerContext,
  old: TenantRecord,
  changes: TenantChanges,
  action: string,
  details: object = {},
  also?: (client: SqlClient) => Promise<unknown>
): Promise<TenantRecord> {
  const changed = await withClient(
    context.shards.get('default'),
    client =>
      inTransaction(client, async () => {
        const tenant = await postgresRegistry(client).update(old.id, old.version, changes)
        await audit(context, client, old.id, action, details)
        await also?.(client)
        return tenant
      })
  )
  await tellChange(context, old, changed)
  return changed
}
