import { inTransaction, isEmbeddedPool, type SqlClient } from '@fastify-tenancy/postgres/client'
import { ensureTenantSchema, schemaOf } from '@fastify-tenancy/postgres/placement'
import { ensureTenantRole } from '@fastify-tenancy/postgres/roles'

import type { ManagerContext } from '../context/context.ts'
import { protectListed } from '../migrations/shared.ts'
import { isWhole, readDatabaseStates, repairDatabase } from './restored-databases.ts'

/**
 * Restores policies, privileges and tenants' roles of a restored, copied or renamed database, after
 * `init` has bound schema `tenancy` to the new roles.
 *
 * @returns a sentence for each repair, done or not
 */
export async function repairTenants (
  context: ManagerContext,
  client: SqlClient,
  shard: string
): Promise<readonly string[]> {
  const done: string[] = []
  await inTransaction(client, () => protectListed(client, context))
  done.push('the policies and privileges of the listed tables were restored')
  const login = context.shards.rolesUser(shard)
  const counts = { roles: 0, schemas: 0 }
  for await (const tenant of context.registry.list({ status: ['active', 'suspended', 'deleting'] })) {
    if (tenant.placement.shard !== shard) continue
    if (tenant.isolation === 'schema') {
      await ensureTenantSchema(client, {
        id: tenant.id,
        schema: schemaOf(tenant),
        login,
        build: async () => {}
      })
      counts.schemas++
    } else if (tenant.isolation === 'rls' && context.options.rls.context === 'role') {
      await inTransaction(client, async () => {
        await ensureTenantRole(client, tenant.id, 'app', login)
      })
      counts.roles++
    }
  }
  if (counts.schemas + counts.roles > 0)
    done.push(`the roles of ${counts.schemas + counts.roles} tenants were restored`)
  return done
}

/**
 * Repairs tenants' own databases: all of a restored shard, otherwise those without a mark or with
 * CONNECT for PUBLIC, which an earlier call could not repair.
 *
 * @param adminUrl the login passed to `init`
 * @returns a sentence about the repaired databases, and one for each that was not repaired
 */
export async function repairDatabases (
  context: ManagerContext,
  client: SqlClient,
  { shard, isRestored, adminUrl }: { shard: string; isRestored: boolean; adminUrl: string | undefined }
): Promise<readonly string[]> {
  // PGlite has one connection, which `client` holds: the registry would wait for it forever.
  if (context.options.database.tenants === undefined || isEmbeddedPool(context.shards.get(shard))) return []
  const states = await readDatabaseStates(client)
  const problems: string[] = []
  let count = 0
  for await (const tenant of context.registry.list({ status: ['active', 'suspended', 'deleting'] })) {
    if (tenant.isolation !== 'database' || tenant.placement.shard !== shard) continue
    if (!isRestored && await isWhole(context, tenant, states)) continue
    const problem = await repairDatabase(context, tenant, adminUrl)
    if (problem === undefined) count++
    else problems.push(problem)
  }
  return count > 0
    ? [...problems, `${count} tenants' own databases were repaired: only their own logins may connect`]
    : problems
}
