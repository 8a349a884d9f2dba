import type { TenantRecord } from '@fastify-tenancy/core'
import { isConnectError, quoteName } from '@fastify-tenancy/postgres/client'
import type { Family, FindingRow } from '@fastify-tenancy/postgres/doctor'
import { databaseNameOf } from '@fastify-tenancy/postgres/placement'

import type { ManagerContext } from '../context/context.ts'
import { withClient } from '../context/shard-pools.ts'
import { missingExtensions, type Installed } from '../placement/extensions.ts'
import { withTenantDatabase } from '../placement/tenant-server.ts'

/** Checks inside tenants' own databases. */
export const ownDatabaseChecks: Family['checks'] = {
  D518: {
    level: 'warning',
    meaning: "the tenant's own database lacks extensions whose types or operators the default shard has, " +
      'so statements that use them fail there'
  },
  D519: {
    level: 'info',
    meaning: "the tenant's own database lacks other extensions that the default shard has, " +
      'so statements that call their functions fail there'
  },
  D691: {
    level: 'warning',
    meaning: "the tenant's own database cannot be reached, so it was not examined"
  }
}

/** Number of databases that are examined at once, each with one connection. */
const connections = 8

/** Checks every tenant's own database for missing extensions, several at once. */
export async function checkOwnDatabases (context: ManagerContext): Promise<FindingRow[]> {
  const findings: FindingRow[] = []
  if (context.options.database.tenants === undefined) return findings
  const tenants = tenantsWithDatabases(context)
  // The loops share one iterator, so each tenant reaches one of them.
  await Promise.all(Array.from({ length: connections }, async () => {
    for await (const tenant of tenants) findings.push(...await examine(context, tenant))
  }))
  return findings.toSorted((a, b) => a.object < b.object ? -1 : Number(a.object > b.object))
}

async function* tenantsWithDatabases ({ registry }: ManagerContext): AsyncGenerator<TenantRecord, void> {
  for await (const tenant of registry.list({ status: ['active', 'suspended'] }))
    if (tenant.isolation === 'database') yield tenant
}

async function examine (context: ManagerContext, tenant: TenantRecord): Promise<FindingRow[]> {
  try {
    return await withTenantDatabase(
      tenant,
      context,
      pool => withClient(pool, async own => findingsOf(tenant, await missingExtensions(context, own)))
    )
  } catch (error) {
    if (!isConnectError(error)) throw error
    return [{
      id: 'D691',
      object: objectOf(tenant),
      says: error instanceof Error ? error.message : String(error),
      fix: '-- start its server or correct options.database.tenants, then run tenancy doctor again'
    }]
  }
}

function findingsOf (tenant: TenantRecord, missing: readonly Installed[]): FindingRow[] {
  return (['D518', 'D519'] as const).flatMap(id => {
    const found = missing.filter(({ isStructural }) => isStructural === (id === 'D518'))
    return found.length === 0
      ? []
      : [{
        id,
        object: objectOf(tenant),
        says: found.map(({ name }) => name).join(', '),
        fix: found.map(({ name, schema }) =>
          `${
            schema === 'public' || schema === 'pg_catalog'
              ? ''
              : `create schema if not exists ${quoteName(schema)}; grant usage on schema ${
                quoteName(schema)
              } to public; `
          }create extension ${quoteName(name)} schema ${quoteName(schema)}`
        ).join('; ')
      }]
  })
}

function objectOf (tenant: TenantRecord): string {
  return `database ${databaseNameOf(tenant)} of tenant ${tenant.id}`
}
