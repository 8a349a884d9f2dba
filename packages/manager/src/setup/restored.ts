import { inTransaction, type SqlClient } from '@fastify-tenancy/postgres/client'
import { ensureTenantSchema, schemaOf } from '@fastify-tenancy/postgres/placement'
import { ensureTenantRole } from '@fastify-tenancy/postgres/roles'

import type { ManagerContext } from '../context/context.ts'
import { protectListed } from '../migrations/shared.ts'
import { isWhole, readStandings, repairDatabase } from './restored-databases.ts'

/**
 * Gives the tables and the tenants of a restored, copied or renamed database what their roles were granted in the old one: after `init` has bound schema
 * `tenancy` to the new roles.
 *
 * @returns a sentence for each thing that it did, or could not do
 */
export async function repairTenants (
  context: ManagerContext,
  client: SqlClient,
  shard: string
): Promise<readonly string[]> {
  const done: string[] = []
  await inTransaction(client, () => protectListed(client, context))
  done.push('the listed tables have their policies and privileges again')
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
    done.push(`${counts.schemas + counts.roles} tenants have their roles again`)
  return done
}

/**
 * Repairs tenants' own databases: all of a shard that was restored, and otherwise those that are not marked, or open to every login. Those stay from a
 * call that could not repair them.
 *
 * @param adminUrl the login that `init` was given
 * @returns a sentence for what it did, and for each database that it could not repair
 */
export async function repairDatabases (
  context: ManagerContext,
  client: SqlClient,
  { shard, isRestored, adminUrl }: { shard: string; isRestored: boolean; adminUrl: string | undefined }
): Promise<readonly string[]> {
  if (context.options.database.tenants === undefined) return []
  const states = await readStandings(client)
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
    ? [...problems, `${count} tenants' own databases are open to their logins alone`]
    : problems
}
