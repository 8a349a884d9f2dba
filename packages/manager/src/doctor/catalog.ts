import { tenantRole } from '@fastify-tenancy/core/keys'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { checkInput, checkSetup, checkVersion, inCatalog, loginChecks, privilegeChecks, rowChecks, runChecks,
  serverChecks, setupChecks, tableChecks, toFinding, viewChecks, codeChecks, keyChecks, moveChecks,
  schemaChecks, databaseChecks, tenantChecks, type DoctorLogins, type Family,
  type Finding } from '@fastify-tenancy/postgres/doctor'
import { schemaOf } from '@fastify-tenancy/postgres/placement'
import type { ResolvedTables } from '@fastify-tenancy/postgres/tables'

import type { ManagerContext } from '../context/context.ts'
import { ownDatabaseChecks } from './own-databases.ts'
import { reachChecks } from './reach.ts'
import type { PlacedTenant, RegisteredTenants } from './registered.ts'

/** Checks that only need the catalog, for every database. */
const always = [loginChecks, tableChecks, keyChecks, viewChecks, codeChecks, privilegeChecks, rowChecks,
  databaseChecks]

/** All checks except the probe's, by id. */
export const catalogChecks: Family['checks'] = Object.assign(
  {},
  ...[...always, schemaChecks, moveChecks, tenantChecks].map(({ checks }) => checks),
  serverChecks,
  setupChecks,
  reachChecks,
  ownDatabaseChecks
)

interface CatalogInput {
  readonly shard: string
  readonly database: string
  readonly login: string
  readonly logins: DoctorLogins
  readonly tables: ResolvedTables
  /** The registry's facts about all tenants; undefined if the registry does not exist yet. */
  readonly registered: RegisteredTenants | undefined
  /** The shard's tenants that have objects of their own in its catalog. */
  readonly tenants: readonly PlacedTenant[]
  /** Names of the tenants' migrations in the application's folder. */
  readonly migrations: readonly string[]
}

/** Runs every check of one shard's catalog on one snapshot. */
export async function checkCatalog (
  client: SqlClient,
  { options }: ManagerContext,
  { shard, database, login, logins, tables, registered, tenants, migrations }: CatalogInput
): Promise<Finding[]> {
  const { isolation, rls, application } = options
  const has = (strategy: string): boolean =>
    isolation === strategy || registered?.isolations.has(strategy) === true
  const input = checkInput({
    database,
    tables,
    login,
    logins,
    functions: has('row') ? application.row.functions : [],
    hasRls: has('rls'),
    signed: rls.secrets.length > 0,
    context: rls.context,
    rewritten: isolation === 'row' && registered?.isolations.has('rls') !== true
  })
  const more = {
    migrations,
    moving: registered?.moving ?? [],
    tenants: tenants.map(tenant => placed(tenant, database, rls.context))
  }
  const { version, unready } = await inCatalog(client, async () => {
    const { rows: [row] } = await client.query<{ version: number }>(
      "select current_setting('server_version_num')::int as version"
    )
    return { version: row?.version ?? 0, unready: await checkSetup(client) }
  })
  const old = checkVersion(version)
  const registryChecks = unready !== undefined || registered === undefined
    ? []
    : [schemaChecks, moveChecks, ...(shard === 'default' ? [tenantChecks] : [])]
  return [
    ...(old === undefined ? [] : [toFinding(old, serverChecks)]),
    ...(unready === undefined ? [] : [toFinding(unready, setupChecks)]),
    ...await runChecks(client, [...always, ...registryChecks], input, more)
  ]
}

function placed (tenant: PlacedTenant, database: string, context: 'setting' | 'role'): object {
  const { id, slug, isolation, status, schema } = tenant
  const hasRole = isolation === 'schema' || (isolation === 'rls' && context === 'role')
  return {
    id,
    slug,
    isolation,
    status,
    schema: isolation === 'schema'
      ? schemaOf({ id, placement: { shard: tenant.shard, ...(schema !== null && { schema }) } })
      : null,
    role: hasRole ? tenantRole(id, database) : null
  }
}
