import type { TenantRecord } from '@fastify-tenancy/core'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { schemaOf } from '@fastify-tenancy/postgres/placement'
import { randomBytes } from 'node:crypto'

import type { ManagerContext } from '../context/context.ts'
import type { ResolvedMigrateInput } from '../context/migrations-options.ts'
import { compareLedger } from './compare.ts'
import type { Connection, ConnectionSource } from './connection.ts'
import { migrationFailed, MigrationInvalidError } from './errors.ts'
import { readEntry } from './ledger.ts'
import type { SharedReport } from './migrate-report.ts'
import { shardSource, tenantTarget } from './migration-target.ts'
import type { Plan, Sets, TenantState } from './plan.ts'
import { rehearse, TransactionEnded, type Part } from './rehearsal.ts'
import { failureOf, sentence, tally } from './report.ts'
import { inspectTables, protectListed } from './shared.ts'

interface CheckInput extends Pick<ResolvedMigrateInput, 'lockTimeout' | 'retries'> {
  readonly plan: Plan
  readonly sets: Sets
}

/** The result of a check. */
export interface Checked {
  readonly shared: SharedReport[]
  /**
   * Names of migrations from the first non-transactional one on, which cannot be rolled back and so
   * did not run.
   */
  readonly unrehearsed: string[]
}

/**
 * Runs pending migrations and rolls them back.
 *
 * On each shard, one transaction runs the shared set and the set of a tenant in its schema. Another
 * runs the set of a tenant with its own database. Each tenant is the one with the most pending
 * migrations. Without tenants, a temporary schema is used.
 *
 * @throws FST_TENANCY_MIGRATION_FAILED for one that fails
 */
export async function check (
  context: ManagerContext,
  connection: Connection,
  { plan, sets, ...input }: CheckInput
): Promise<Checked> {
  const { options: { tables, provision } } = context
  const unrehearsed = new Set<string>()
  const furthest = (isolation: 'schema' | 'database', shard?: string): TenantState | undefined =>
    plan.tenants
      .filter(({ tenant }) =>
        tenant.isolation === isolation && (shard === undefined || tenant.placement.shard === shard)
      )
      .toSorted((a, b) => b.pending.length - a.pending.length)[0]
  const run = async (
    { shard, source }: { readonly shard: string; readonly source: ConnectionSource },
    parts: (client: SqlClient) => Promise<readonly Part[]>,
    end: (client: SqlClient) => Promise<void> = async () => {}
  ): Promise<void> => {
    try {
      for (const name of await rehearse(connection, { source, ...input, parts, end })) unrehearsed.add(name)
    } catch (error) {
      throw refused(shard, error)
    }
  }

  const shared: SharedReport[] = []
  const unreachable = new Set(plan.unreachable.map(({ shard }) => shard))
  for (const shard of context.shards.names.filter(name => !unreachable.has(name))) {
    const state = plan.shared.find(one => one.shard === shard)
    const own = furthest('schema', shard)
    // No temporary schema with `provision`, because the application's function creates the first
    // tables outside this transaction.
    const isScratch = shard === 'default' && plan.tenants.length === 0 && provision === undefined
    const parts: Part[] = [
      ...(state === undefined
        ? []
        : [{
          where: `the shared tables of shard '${shard}'`,
          schema: tables.schema,
          migrations: state.pending,
          after: (client: SqlClient) => protectListed(client, context)
        }]),
      ...(own === undefined ? [] : [ofTenant(own.tenant, schemaOf(own.tenant), own.pending)]),
      ...(isScratch && sets.tenant !== undefined
        ? [{
          where: 'a new tenant',
          schema: `tenancy_check_${randomBytes(6).toString('hex')}`,
          isNew: true,
          isBordered: true,
          migrations: sets.tenant
        }]
        : [])
    ]
    if (parts.length === 0) continue
    await run({ shard, source: shardSource(context, shard) }, async () => parts, async client => {
      shared.push({
        shard,
        applied: (state?.pending ?? []).map(({ name }) => name),
        ...await inspectTables(client, context)
      })
    })
  }
  const apart = furthest('database')
  if (apart !== undefined) {
    const { tenant } = apart
    const { shard, source } = await tenantTarget(context, tenant)
    // The default shard's copy of this ledger may be outdated.
    await run(
      { shard, source },
      async client => [ofTenant(tenant, tables.schema, await pendingOf(client, tenant, sets))]
    )
  }
  return { shared, unrehearsed: [...unrehearsed].toSorted() }
}

function ofTenant (tenant: TenantRecord, schema: string, migrations: Part['migrations']): Part {
  return { where: `tenant ${tenant.slug}`, tenant, schema, isBordered: true, migrations }
}

async function pendingOf (
  client: SqlClient,
  tenant: TenantRecord,
  { tenant: migrations = [] }: Sets
): Promise<Part['migrations']> {
  const { rows: [row] } = await client.query<{ there: boolean }>(
    "select pg_catalog.to_regclass('tenancy.migration_ledger') is not null as there"
  )
  const { pending, problem } = compareLedger(
    row?.there === true ? (await readEntry(client, tenant.id)).applied : [],
    migrations
  )
  if (problem !== undefined) throw new MigrationInvalidError(`${problem} (tenant '${tenant.slug}')`)
  return pending
}

function refused (shard: string, error: unknown): unknown {
  if (error instanceof MigrationInvalidError) return error
  const { at, cause } = error as { readonly at?: Part; readonly cause?: unknown }
  const failure = failureOf(shard, at?.tenant, at === undefined ? error : cause)
  return migrationFailed(
    `${sentence(failure, at?.where)}${
      failure.error instanceof TransactionEnded ? '' : ': all changes were rolled back'
    }`,
    { shared: [], tenants: tally(), failures: [failure], unrehearsed: [] },
    failure.error
  )
}
