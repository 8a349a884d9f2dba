import type { TenantRecord } from '@fastify-tenancy/core'
import { ensureTenantRole, ensureTenantSchema, grantTenantDatabase, inTransaction, quoteName, quoteText,
  schemaOf, sqlState, type SqlClient, isConnectError } from '@fastify-tenancy/database'

import type { ManagerContext } from './context.ts'
import { protectListed } from './migrations/shared.ts'
import { openManagerPool, withClient } from './shard-pools.ts'
import { ended, tenantServer } from './tenant-server.ts'

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
  const counts = { roles: 0, schemas: 0, databases: 0 }
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
    } else if (tenant.isolation === 'database') {
      const problem = await repairDatabase(context, tenant)
      if (problem === undefined) counts.databases++
      else done.push(problem)
    }
  }
  if (counts.schemas + counts.roles > 0)
    done.push(`${counts.schemas + counts.roles} tenants have their roles again`)
  if (counts.databases > 0)
    done.push(`${counts.databases} tenants' own databases are open to their logins alone`)
  return done
}

// A dump of one database brings neither its mark nor who may connect. Its ledger, where there is one, says whose it is.
async function repairDatabase (context: ManagerContext, tenant: TenantRecord): Promise<string | undefined> {
  const server = await tenantServer(tenant, context)
  if ('pool' in server) return undefined
  const { login: { user }, name, ownerUrl } = server
  const mark = `fastify-tenancy: tenant ${tenant.id}`
  try {
    return await ended(openManagerPool(ownerUrl), pool =>
      withClient(pool, async own => {
        const { rows: [row] } = await own.query<{ comment: string | null; ledger: boolean }>(`
        select pg_catalog.shobj_description(oid, 'pg_database') as comment, pg_catalog.to_regclass('tenancy.migration_ledger') is not null as ledger from pg_catalog.pg_database where datname = pg_catalog.current_database()`)
        const isItsOwn = row?.comment === mark ||
          (row?.comment === null && row.ledger &&
            (await own.query('select from tenancy.migration_ledger where tenant_id = $1 limit 1', [
                tenant.id
              ])).rows.length > 0)
        if (!isItsOwn)
          return `database '${name}' of tenant ${tenant.id} is not marked as this tenant's, and nothing was changed there: look whose it is, then comment on database ${
            quoteName(name)
          } is ${quoteText(mark)}, and run this again`
        const { rows: [role] } = await own.query('select from pg_catalog.pg_roles where rolname = $1', [user])
        if (role === undefined)
          return `login '${user}' of tenant ${tenant.id} is not there: create it with its password, and run this again`
        await inTransaction(own, async () => {
          await own.query(
            `comment on database ${quoteName(name)} is ${quoteText(mark)}; revoke all on database ${
              quoteName(name)
            } from public; grant connect on database ${quoteName(name)} to ${quoteName(user)}`
          )
          await grantTenantDatabase(own, context.options.tables.schema, user)
        })
        return undefined
      }))
  } catch (error) {
    if (sqlState(error) === undefined && !isConnectError(error)) throw error
    return `database '${name}' of tenant ${tenant.id} was not repaired (${
      error instanceof Error ? error.message : ''
    }): mend that, and run this again`
  }
}
