import { inTransaction, quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'

import { withoutPasswords } from '../operations/journal.ts'
import type { LoadedMigration } from './read-migrations.ts'

/*
 * `tenancy.migration_ledger` is in the database whose tables it describes: the shared set's and the
 * schemas' in their shard, that of a tenant's own database in that database. The default shard has
 * a copy of the latter, which may be outdated, for queries about all tenants.
 */

/** The `tenant_id` of the shared set. */
export const sharedSet = ''

export interface AppliedMigration {
  readonly name: string
  readonly checksum: string
}

/** The ledger's entries of one target. */
export interface LedgerEntry {
  /** In order of their names. */
  readonly applied: readonly AppliedMigration[]
  /**
   * The last failed attempt. Without an error, the migration began outside a transaction and has
   * not ended.
   */
  readonly failure:
    | { readonly name: string; readonly error: string | undefined; readonly triedAt: Date }
    | undefined
}

interface Row {
  readonly tenant_id: string
  readonly names: readonly string[]
  readonly checksums: readonly string[]
  readonly failure: { readonly name: string; readonly error: string | null; readonly tried_at: string } | null
}

/** Returns the ledger of a whole database by `tenant_id`, read with one statement. */
export async function readLedger (
  client: SqlClient,
  tenants: readonly string[] | undefined = undefined
): Promise<Map<string, LedgerEntry>> {
  const { rows } = await client.query<Row>(
    `
    select tenant_id,
      coalesce(array_agg(name order by name) filter (where applied_at is not null), '{}') as names,
      coalesce(array_agg(checksum order by name) filter (where applied_at is not null), '{}') as checksums,
      (
        array_agg(json_build_object('name', name, 'error', error, 'tried_at', tried_at) order by name)
        filter (where applied_at is null)
      )[1] as failure
    from tenancy.migration_ledger where $1::text[] is null or tenant_id = any($1)
    group by tenant_id`,
    [tenants ?? null]
  )
  return new Map(rows.map(({ tenant_id: tenant, names, checksums, failure }) => [tenant, {
    applied: names.map((name, index) => ({ name, checksum: checksums[index] ?? '' })).toSorted((a, b) =>
      a.name < b.name ? -1 : 1
    ),
    failure: failure === null
      ? undefined
      : { name: failure.name, error: failure.error ?? undefined, triedAt: new Date(failure.tried_at) }
  }]))
}

/** Returns the ledger of one tenant or of the shared set. */
export async function readEntry (client: SqlClient, tenant: string): Promise<LedgerEntry> {
  return (await readLedger(client, [tenant])).get(tenant) ?? { applied: [], failure: undefined }
}

/**
 * SQL that sets the role to the owner of the schema `tenancy`, for the transaction. In a tenant's
 * own database that is the login itself.
 */
export const becomeOwner: string =
  "select pg_catalog.set_config('role', pg_catalog.pg_get_userbyid(nspowner), true) " +
  "from pg_catalog.pg_namespace where nspname = 'tenancy'"

/** Returns SQL that records a migration as applied. It runs in the migration's transaction. */
export function recordApplied (tenant: string, { name, checksum }: LoadedMigration): string {
  return `select tenancy.record_migration(${[tenant, name, checksum].map(quoteText).join(', ')})`
}

/**
 * Returns SQL that removes a migration from the ledger. It runs in the transaction of its `down`.
 */
export function recordUndone (tenant: string, name: string): string {
  return `select tenancy.record_migration(${quoteText(tenant)}, ${quoteText(name)}, null)`
}

/**
 * Returns SQL that records the start of a non-transactional migration. It is committed before the
 * migration runs.
 */
export function recordStart (tenant: string, { name, checksum }: LoadedMigration): string {
  return `
    insert into tenancy.migration_ledger as ledger (tenant_id, name, checksum) values (${
    [tenant, name, checksum].map(quoteText).join(', ')
  })
    on conflict (tenant_id, name)
    do update set checksum = excluded.checksum, error = null, tried_at = excluded.tried_at
    where ledger.applied_at is null`
}

/**
 * Records why a migration failed. If another process has applied it meanwhile, it stays applied.
 */
export async function recordFailure (
  client: SqlClient,
  tenant: string,
  { name, checksum }: LoadedMigration,
  error: Error
): Promise<void> {
  await inTransaction(client, async () => {
    await client.query(becomeOwner)
    await client.query(
      `
      insert into tenancy.migration_ledger as ledger (tenant_id, name, checksum, error)
      values ($1, $2, $3, $4)
      on conflict (tenant_id, name)
      do update set checksum = excluded.checksum, error = excluded.error, tried_at = excluded.tried_at
      where ledger.applied_at is null`,
      [tenant, name, checksum, withoutPasswords(error.message).slice(0, 1_000) || error.name]
    )
  })
}

/** Updates the default shard's copy of the ledger of a tenant's own database. */
export async function copyLedger (from: SqlClient, to: SqlClient, tenant: string): Promise<void> {
  const { rows: [row] } = await from.query<{ entries: string }>(
    `
    select coalesce(json_agg(ledger), '[]')::text as entries
    from tenancy.migration_ledger ledger where tenant_id = $1 and applied_at is not null`,
    [tenant]
  )
  await to.query(
    `
    with entries as (select * from pg_catalog.json_populate_recordset(null::tenancy.migration_ledger, $2)),
    gone as (
      delete from tenancy.migration_ledger ledger
      where tenant_id = $1 and not exists (select from entries where entries.name = ledger.name)
    )
    insert into tenancy.migration_ledger as ledger select * from entries
    on conflict (tenant_id, name) do update set checksum = excluded.checksum,
      applied_at = excluded.applied_at, duration_ms = excluded.duration_ms, error = null,
      tried_at = excluded.tried_at
    where ledger.applied_at is distinct from excluded.applied_at`,
    [tenant, row?.entries ?? '[]']
  )
}
