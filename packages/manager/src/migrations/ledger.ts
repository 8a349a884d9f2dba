import { inTransaction, quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'

import { withoutPasswords } from '../operations/journal.ts'
import type { LoadedMigration } from './read-migrations.ts'

/*
 * `tenancy.migration_ledger`: of the shared tables and of schemas in the database that they are in, of a tenant's own database
 * in that. For such a tenant the default shard has a copy, which may be behind, for those who ask about all tenants.
 */

/** The `tenant_id` of the shared tables. */
export const sharedSet = ''

export interface AppliedMigration {
  readonly name: string
  readonly checksum: string
}

/** What the ledger has of one place. */
export interface LedgerEntry {
  /** By name. */
  readonly applied: readonly AppliedMigration[]
  /** The last attempt, where it failed. Without an error: it was begun outside a transaction, and has not ended. */
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

/** The ledger of a whole database, by `tenant_id`. One statement, however many tenants there are. */
export async function readLedger (
  client: SqlClient,
  tenants: readonly string[] | undefined = undefined
): Promise<Map<string, LedgerEntry>> {
  const { rows } = await client.query<Row>(
    `
    select tenant_id,
      coalesce(array_agg(name order by name) filter (where applied_at is not null), '{}') as names,
      coalesce(array_agg(checksum order by name) filter (where applied_at is not null), '{}') as checksums,
      (array_agg(json_build_object('name', name, 'error', error, 'tried_at', tried_at) order by name) filter (where applied_at is null))[1] as failure
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

/** The ledger of one tenant, or of the shared tables. */
export async function readEntry (client: SqlClient, tenant: string): Promise<LedgerEntry> {
  return (await readLedger(client, [tenant])).get(tenant) ?? { applied: [], failure: undefined }
}

/**
 * Becomes the owner of the schema `tenancy`, for the transaction: in a tenant's own database that is the login itself.
 */
export const becomeOwner =
  "select pg_catalog.set_config('role', pg_catalog.pg_get_userbyid(nspowner), true) from pg_catalog.pg_namespace where nspname = 'tenancy'"

/** Writes down that a migration has run, in the transaction in which it did. */
export function recordApplied (tenant: string, { name, checksum }: LoadedMigration): string {
  return `select tenancy.record_migration(${[tenant, name, checksum].map(quoteText).join(', ')})`
}

/** Takes a migration from the ledger, in the transaction in which its `down` has run. */
export function recordUndone (tenant: string, name: string): string {
  return `select tenancy.record_migration(${quoteText(tenant)}, ${quoteText(name)}, null)`
}

/** Writes down that a migration is begun outside a transaction, in one that is before it. */
export function recordStart (tenant: string, { name, checksum }: LoadedMigration): string {
  return `
    insert into tenancy.migration_ledger as ledger (tenant_id, name, checksum) values (${
    [tenant, name, checksum].map(quoteText).join(', ')
  })
    on conflict (tenant_id, name) do update set checksum = excluded.checksum, error = null, tried_at = excluded.tried_at where ledger.applied_at is null`
}

/** Writes down why a migration did not run. One that somebody else has meanwhile applied stays applied. */
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
      insert into tenancy.migration_ledger as ledger (tenant_id, name, checksum, error) values ($1, $2, $3, $4)
      on conflict (tenant_id, name) do update set checksum = excluded.checksum, error = excluded.error, tried_at = excluded.tried_at
      where ledger.applied_at is null`,
      [tenant, name, checksum, withoutPasswords(error.message).slice(0, 1_000) || error.name]
    )
  })
}

/** Makes the default shard's copy of the ledger of a tenant's own database what that is now. */
export async function copyLedger (from: SqlClient, to: SqlClient, tenant: string): Promise<void> {
  const { rows: [row] } = await from.query<{ entries: string }>(
    "select coalesce(json_agg(ledger), '[]')::text as entries from tenancy.migration_ledger ledger where tenant_id = $1 and applied_at is not null",
    [tenant]
  )
  await to.query(
    `
    with entries as (select * from pg_catalog.json_populate_recordset(null::tenancy.migration_ledger, $2)),
    gone as (delete from tenancy.migration_ledger ledger where tenant_id = $1 and not exists (select from entries where entries.name = ledger.name))
    insert into tenancy.migration_ledger as ledger select * from entries
    on conflict (tenant_id, name) do update set checksum = excluded.checksum, applied_at = excluded.applied_at, duration_ms = excluded.duration_ms, error = null, tried_at = excluded.tried_at
    where ledger.applied_at is distinct from excluded.applied_at`,
    [tenant, row?.entries ?? '[]']
  )
}
