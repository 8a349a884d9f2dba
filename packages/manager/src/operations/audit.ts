import type { TenantChanges, TenantRecord } from '@fastify-tenancy/core'
import { inTransaction, type SqlClient } from '@fastify-tenancy/postgres/client'
import { postgresRegistry } from '@fastify-tenancy/postgres/registry'

import { tellChange } from '../context/announce-change.ts'
import type { ManagerContext } from '../context/context.ts'
import { withClient } from '../context/shard-pools.ts'

/**
 * Adds an entry to `tenancy.audit`. The actor is the name given to {@link Manager.as}, or else the login.
 * With a given actor, `details.login` keeps the login. The details must not contain secrets.
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
 * Changes a tenant's record if its version is still the one that was read, and adds an audit entry,
 * in one transaction. Then notifies every process.
 *
 * @param also writes more in the same transaction
 * @throws FST_TENANCY_TENANT_CONFLICT if the record was changed since
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
