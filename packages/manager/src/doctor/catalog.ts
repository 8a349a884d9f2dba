import { tenantRole } from '@fastify-tenancy/core'
import { schemaOf, type ResolvedTables, type SqlClient } from '@fastify-tenancy/database'
import { checkInput, checkSetup, checkVersion, inCatalog, loginChecks, privilegeChecks, rowChecks, runChecks,
  serverChecks, setupChecks, tableChecks, toFinding, type DoctorLogins, type Family, type Finding,
  viewChecks } from '@fastify-tenancy/database/doctor'

import type { ManagerContext } from '../context.ts'
import { codeChecks } from './code.ts'
import { keyChecks } from './keys.ts'
import { moveChecks } from './moves.ts'
import { ownDatabaseChecks } from './own-databases.ts'
import { reachChecks } from './reach.ts'
import { schemaChecks } from './schemas.ts'
import { databaseChecks } from './server.ts'
import { tenantChecks } from './tenants.ts'

/** Checks of the catalog alone, on every database. */
const always = [loginChecks, tableChecks, keyChecks, viewChecks, codeChecks, privilegeChecks, rowChecks,
  databaseChecks]

/** All checks but those of the probe, by id. */
export const catalogChecks: Family['checks'] = Object.assign(
  {},
  ...[...always, schemaChecks, moveChecks, tenantChecks].map(({ checks }) => checks),
  serverChecks,
  setupChecks,
  reachChecks,
  ownDatabaseChecks
)

/** A tenant as the checks need it. */
export interface PlacedTenant {
  readonly id: string
  readonly slug: string
  readonly isolation: string
  readonly status: string
  readonly shard: string
  readonly schema: string | null
  /** Whether a move of it is not finished. */
  readonly isMoving: boolean
}

export interface CatalogInput {
  readonly shard: string
  readonly database: string
  readonly login: string
  readonly logins: DoctorLogins
  readonly tables: ResolvedTables
  /** All tenants; undefined where the registry is not there yet. */
  readonly tenants: readonly PlacedTenant[] | undefined
  /** Names of the tenants' migrations as the application has them. */
  readonly migrations: readonly string[]
}

/** Every check that reads the catalog of one shard, on one snapshot. */
export async function checkCatalog (
  client: SqlClient,
  { options }: ManagerContext,
  { shard, database, login, logins, tables, tenants, migrations }: CatalogInput
): Promise<Finding[]> {
  const { isolation, rls, application } = options
  const has = (strategy: string): boolean =>
    isolation === strategy || tenants?.some(tenant => tenant.isolation === strategy) === true
  const input = {
    ...checkInput({
      database,
      tables,
      login,
      logins,
      functions: has('row') ? application.row.functions : [],
      hasRls: has('rls'),
      signed: rls.secrets.length > 0,
      context: rls.context,
      rewritten: isolation === 'row' && tenants?.some(tenant => tenant.isolation === 'rls') !== true
    }),
    migrations,
    moving: (tenants ?? []).filter(({ isMoving }) => isMoving).map(({ id }) => id),
    tenants: (tenants ?? []).filter(tenant => tenant.shard === shard).map(tenant =>
      placed(tenant, database, rls.context)
    )
  }
  const { version, unready } = await inCatalog(client, async () => {
    const { rows: [row] } = await client.query<{ version: number }>(
      "select current_setting('server_version_num')::int as version"
    )
    return { version: row?.version ?? 0, unready: await checkSetup(client) }
  })
  const old = checkVersion(version)
  const registered = unready !== undefined || tenants === undefined
    ? []
    : [schemaChecks, moveChecks, ...(shard === 'default' ? [tenantChecks] : [])]
  return [
    ...(old === undefined ? [] : [toFinding(old, serverChecks)]),
    ...(unready === undefined ? [] : [toFinding(unready, setupChecks)]),
    ...await runChecks(client, [...always, ...registered], input)
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

/** All tenants of the registry but those that are gone. */
export async function readTenants (client: SqlClient): Promise<PlacedTenant[] | undefined> {
  if (await checkSetup(client) !== undefined) return undefined
  const { rows } = await client.query<PlacedTenant>(`
    select id, slug, isolation, status, shard, schema_name as schema,
      exists (select from tenancy.operations op where op.tenant_id = t.id and op.kind = 'move' and op.finished_at is null) as "isMoving"
    from tenancy.tenants t where status <> 'deleted'`)
  return rows
}
