import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { protectTables } from '@fastify-tenancy/postgres/policies'
import { listTables, type ResolvedTables } from '@fastify-tenancy/postgres/tables'

import type { ManagerContext } from '../context/context.ts'
import { bringUp } from './bring-up.ts'
import type { Connection } from './connection.ts'
import { adoptKyselyHistory } from './kysely-history.ts'
import { recordFailure } from './ledger.ts'
import type { SharedReport } from './migrate-report.ts'
import { sharedTarget } from './migration-target.ts'
import type { ShardState } from './plan.ts'
import type { LoadedMigration } from './read-migrations.ts'
import { StepFailure } from './run-in-transaction.ts'

interface SharedInput {
  readonly state: ShardState
  readonly migrations: readonly LoadedMigration[]
  readonly lockTimeout: number
  readonly retries: number
}

/**
 * Runs the pending migrations of the shared set on one shard and protects the tables of
 * `options.tables`, in one transaction. So a tenant table is never visible without its policy.
 */
export async function migrateShared (
  context: ManagerContext,
  connection: Connection,
  { state, migrations, lockTimeout, retries }: SharedInput
): Promise<SharedReport> {
  const { shard, pending, entry } = state
  const target = sharedTarget(context, shard)
  if (pending.length === 0)
    return connection.use(
      target.source,
      async client => ({ shard, applied: [], ...await inspectTables(client, context) }),
      shard
    )
  // At the first run, and whenever `kysely-ctl` has run since. Migrations that it applied would
  // otherwise fail or run twice.
  const isNews = await connection.use(
    target.source,
    client => adoptKyselyHistory(client, context.options.tables.schema, migrations),
    shard
  )
  let report: SharedReport = { shard, applied: [], unlisted: [], unprotected: [] }
  try {
    const applied = await bringUp(connection, {
      target,
      migrations,
      lockTimeout,
      retries,
      known: isNews ? undefined : entry,
      finish: async client => {
        await protectListed(client, context)
        report = { shard, applied: pending.map(({ name }) => name), ...await inspectTables(client, context) }
      }
    }) ?? []
    // Only the migrations that this call ran; another process may have run some of the pending
    // ones.
    return { ...report, applied }
  } catch (error) {
    if (error instanceof StepFailure && !error.migration.isNonTransactional)
      await connection.use(
        target.source,
        client => recordFailure(client, target.tenant, error.migration, error.cause)
      ).catch(() => {})
    throw error
  }
}

/**
 * Protects the listed tables that exist. A missing one is protected in the transaction of the later
 * migration that creates it.
 */
export async function protectListed (
  client: SqlClient,
  { options: { tables: input, rls, adoption } }: ManagerContext
): Promise<void> {
  const tables = await listTables(client, input)
  const there = await tablesOf(client, tables.schema)
  const isThere = (name: string): boolean => there.has(name)
  await protectTables(client, {
    tables: {
      schema: tables.schema,
      tenant: Object.fromEntries(Object.entries(tables.tenant).filter(([name]) => isThere(name))),
      shared: tables.shared.filter(isThere),
      global: tables.global.filter(isThere),
      ...(tables.views !== undefined && { views: tables.views })
    },
    signed: rls.secrets.length > 0,
    context: rls.context,
    legacy: adoption.legacy
  })
}

async function tablesOf (client: SqlClient, schema: string): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ name: string }>(
    `
    select relname::text as name from pg_catalog.pg_class
    where relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident($1))
      and relkind in ('r', 'p') and not relispartition`,
    [schema]
  )
  return new Set(rows.map(({ name }) => name))
}

/**
 * Compares the existing tables with the lists. `unprotected` are tables that have rows of tenants
 * but no forced policy, listed or not. They are found by the tenant column or by a foreign key to a
 * tenant table.
 */
export async function inspectTables (
  client: SqlClient,
  { options: { tables: input, isolation } }: ManagerContext
): Promise<Pick<SharedReport, 'unlisted' | 'unprotected'>> {
  const tables: ResolvedTables = await listTables(client, input)
  const tenant = Object.keys(tables.tenant)
  const columns = [...new Set([...Object.values(tables.tenant), input.auto ?? 'tenant_id'])]
  const { rows } = await client.query<{ name: string; listed: boolean; holds: boolean; protected: boolean }>(
    `
    select c.relname::text as name, c.relname = any($2::text[] || $3::text[]) as listed,
      c.relname = any($2::text[]) or (c.relname <> all($3::text[]) and (
        exists (
          select from pg_catalog.pg_attribute
          where attrelid = c.oid and attname = any($4::text[]) and attnum > 0 and not attisdropped
        )
        or exists (select from pg_catalog.pg_constraint k join pg_catalog.pg_class p on p.oid = k.confrelid
          where k.conrelid = c.oid and k.contype = 'f' and p.relnamespace = c.relnamespace
            and p.relname = any($2::text[])))) as holds,
      c.relrowsecurity and c.relforcerowsecurity
        and exists (select from pg_catalog.pg_policy where polrelid = c.oid) as protected
    from pg_catalog.pg_class c
    where c.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident($1))
      and c.relkind in ('r', 'p') and not c.relispartition
      -- Tables of extensions need not be listed.
      and (c.relname = any($2::text[] || $3::text[]) or not exists (
        select from pg_catalog.pg_depend
        where classid = 'pg_catalog.pg_class'::regclass and objid = c.oid and deptype = 'e'
      ))
    order by c.relname`,
    [tables.schema, tenant, [...tables.shared, ...tables.global], columns]
  )
  return {
    unlisted: rows.filter(row => !row.listed).map(({ name }) => name),
    // With strategy `row`, the rewriter separates the tenants, not a policy.
    unprotected: rows.filter(row => row.holds && !row.protected && !(row.listed && isolation === 'row')).map((
      { name }
    ) => name)
  }
}
