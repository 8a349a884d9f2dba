import type { TenantRecord } from '@fastify-tenancy/core'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { schemaOf } from '@fastify-tenancy/postgres/placement'
import { postgresRegistry } from '@fastify-tenancy/postgres/registry'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type pg from 'pg'

import type { ManagerContext } from '../context/context.ts'
import { openManagerPool } from '../context/shard-pools.ts'
import { withPlacement, type RowPlacement, type TenantPlacement } from '../placement/tenant-placement.ts'
import { ended } from '../placement/tenant-server.ts'
import { readExport, type Export } from '../tenant-rows/read-export.ts'
import { writeExport } from '../transfer/export.ts'
import { RestoreRefusedError } from './errors.ts'

/** Whether `from` is the URL of a database; otherwise it is a folder. */
export function isDatabaseUrl (from: string): boolean {
  return /^postgres(?:ql)?:\/\//.test(from)
}

/**
 * Runs `work` with the rows to restore, from an export's folder or another database. The latter's
 * rows of the tenant are first exported into a temporary folder, which is removed afterwards.
 *
 * @throws FST_TENANCY_RESTORE_REFUSED for rows of another tenant, or the tenant's current database
 */
export async function withSource<T> (
  context: ManagerContext,
  tenant: TenantRecord,
  from: string,
  work: (source: Export) => Promise<T>
): Promise<T> {
  if (!isDatabaseUrl(from)) return work(await readOwn(context, tenant, from))
  const folder = await mkdtemp(join(tmpdir(), 'tenancy-restore-'))
  try {
    await ended(openManagerPool(from), pool => exportFrom(context, tenant, pool, folder))
    return await work(await readOwn(context, tenant, folder))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function readOwn (
  { options: { progress } }: ManagerContext,
  { id, slug }: TenantRecord,
  folder: string
): Promise<Export> {
  const source = await readExport(folder, ({ name, rows: total }, done) =>
    progress?.({
      operation: 'restore',
      tenant: id,
      slug,
      step: `check ${name}`,
      done,
      total
    }))
  const { tenant } = source.manifest
  if (tenant.id !== id) {
    throw new RestoreRefusedError(
      `the export is of tenant '${tenant.slug}' (${tenant.id}), not of '${slug}' (${id}): ` +
        'use an export of this tenant'
    )
  }
  return source
}

async function exportFrom (
  context: ManagerContext,
  tenant: TenantRecord,
  pool: pg.Pool,
  folder: string
): Promise<void> {
  const there = await readIdentity(pool)
  const here = await withPlacement(context, tenant, ({ pool }) => readIdentity(pool))
  if (there === here)
    throw new RestoreRefusedError(
      "the URL leads to the tenant's current database: use the URL of the restored copy"
    )
  const record = await recordThere(pool, tenant)
  if (record === undefined && tenant.isolation !== 'database' && tenant.placement.shard === 'default') {
    throw new RestoreRefusedError(
      `the database of the URL has no tenant '${tenant.slug}' (${tenant.id}): ` +
        'use a copy of a time at which the tenant existed'
    )
  }
  const placed = record ?? tenant
  const { tables } = await writeExport(
    { context, tenant: placed, folder, signal: undefined },
    placementOf(context, placed, pool)
  )
  // A copy of a shard or of a tenant's own database has no registry, which would prove that the
  // tenant existed.
  if (record === undefined && tables.every(({ rows }) => rows === 0)) {
    throw new RestoreRefusedError(
      `the database of the URL has no row of tenant '${tenant.slug}': use the copy that has its rows`
    )
  }
}

/**
 * Returns the tenant's record in the copy's registry; undefined without one, as on a shard or in a
 * tenant's own database.
 *
 * @throws FST_TENANCY_RESTORE_REFUSED if the tenant's rows were in another database when the copy
 *   was made
 */
async function recordThere (pool: pg.Pool, tenant: TenantRecord): Promise<TenantRecord | undefined> {
  const { rows: [row] } = await pool.query<{ has: boolean }>(
    `select pg_catalog.to_regclass('tenancy.tenants') is not null as has`
  )
  const record = row?.has === true ? await postgresRegistry(pool).findById(tenant.id) : undefined
  if (record === undefined) return undefined
  const { isolation, placement: { shard } } = record
  if (isolation === 'database' || shard !== 'default') {
    const target = isolation === 'database' ? 'a database of its own' : `shard '${shard}'`
    throw new RestoreRefusedError(
      `when the copy was made, the rows of tenant '${tenant.slug}' were in ${target}: ` +
        'use a copy of that database'
    )
  }
  return record
}

function placementOf (
  { options: { tables } }: ManagerContext,
  tenant: TenantPlacement,
  pool: pg.Pool
): RowPlacement {
  const isShared = tenant.isolation === 'rls' || tenant.isolation === 'row'
  return {
    tenant: tenant.id,
    pool,
    isShared,
    schema: tenant.isolation === 'schema' ? schemaOf(tenant) : tables.schema
  }
}

// Returns the server's start time and the database's oid. They are equal for every login to the
// same database.
async function readIdentity (client: SqlClient): Promise<string> {
  const { rows: [row] } = await client.query<{ identity: string }>(`
    select pg_catalog.pg_postmaster_start_time()::text || ' ' || oid as identity
    from pg_catalog.pg_database where datname = pg_catalog.current_database()`)
  return row?.identity ?? ''
}
