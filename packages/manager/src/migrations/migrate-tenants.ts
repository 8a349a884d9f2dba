import { TenantConflictError, type TenantRecord } from '@fastify-tenancy/core'

import type { ManagerContext } from '../context/context.ts'
import type { ResolvedMigrateInput } from '../context/migrations-options.ts'
import type { CatalogAnnouncer } from './announce.ts'
import { Connection } from './connection.ts'
import { MigrationInvalidError } from './errors.ts'
import type { TenantsReport, MigrationFailure } from './migrate-report.ts'
import { migrateOne } from './migrate-tenant.ts'
import { listMeant, makePlan, type Sets, type TenantState } from './plan.ts'
import { failureOf, tally } from './report.ts'
import { inWaves } from './waves.ts'

// Connections of the manager besides the workers': two for the registry's list and the copies of
// ledgers, a third for the tenants' locks.
const ownConnections = 3

/**
 * Migrates tenants in rounds until a check finds no new tenant that is behind. A tenant that
 * another process works on, such as a move, is retried after all others.
 */
export async function migrateTenants (
  context: ManagerContext,
  first: readonly TenantState[],
  sets: Sets,
  input: ResolvedMigrateInput & { readonly announcer: CatalogAnnouncer },
  failures: MigrationFailure[]
): Promise<TenantsReport> {
  const { options: { database: { budget }, progress } } = context
  const report = tally()
  if (sets.tenant === undefined) return report
  const jobs = Math.max(1, Math.min(input.jobs, budget.connections - ownConnections))
  const connections = Array.from({ length: jobs }, () => new Connection())
  const [seen, postponed] = [new Set<string>(), new Set<TenantState>()]
  const isNamed = input.only !== undefined || input.schema !== undefined
  const { lockTimeout, retries } = input
  const migrations = sets.tenant
  try {
    for (let round = first; round.length > 0;) {
      for (const { tenant } of round) seen.add(tenant.id)
      // For strategy `database`, the default shard's copy of the ledger may be outdated, so every
      // database is visited.
      const behind = round.filter(({ tenant, pending }) =>
        pending.length > 0 || tenant.isolation === 'database'
      )
      report.current += round.length - behind.length
      const waited = new Set(postponed)
      postponed.clear()
      let done = 0
      report.left += await inWaves(behind, { ...input, jobs }, async (state, worker) => {
        const { tenant, entry } = state
        const one = {
          tenant,
          migrations,
          lockTimeout,
          retries,
          isLocking: true,
          known: tenant.isolation === 'database' ? undefined : entry
        }
        const { end, failure } = await tryOne(context, connections[worker] as Connection, one)
        if (end === 'migrated' || end === 'failed') await input.announcer.changed()
        const isPostponed = failure?.error instanceof TenantConflictError && !waited.has(state)
        if (isPostponed) postponed.add(state)
        else {
          report[end]++
          if (failure !== undefined) failures.push(failure)
        }
        progress?.({
          operation: 'migrate',
          tenant: tenant.id,
          slug: tenant.slug,
          worker,
          step: isPostponed ? 'postponed' : end,
          done: ++done,
          total: behind.length
        })
        return isPostponed || end !== 'failed'
      })
      const isOver = report.left > 0 || failures.length > input.maxFailures || input.signal?.aborted === true
      if (isOver) report.left += postponed.size
      round = isOver
        ? []
        : [...postponed, ...isNamed ? [] : await newcomers(context, connections[0] as Connection, sets, seen)]
    }
    return report
  } finally {
    await Promise.all(connections.map(connection => connection.close()))
  }
}

async function tryOne (
  context: ManagerContext,
  connection: Connection,
  one: Parameters<typeof migrateOne>[2]
): Promise<
  { readonly end: 'migrated' | 'current' | 'skipped' | 'failed'; readonly failure?: MigrationFailure }
> {
  const { tenant } = one
  try {
    const applied = await migrateOne(context, connection, one)
    if (applied !== undefined) return { end: applied.length === 0 ? 'current' : 'migrated' }
    // A missing schema of a tenant that still exists is an error, not a deletion.
    if (!await isLeaving(context, tenant))
      throw new MigrationInvalidError(
        "the tenant's schema is missing or belongs to another tenant: " +
          'create the tenant again, or restore the schema'
      )
    return { end: 'skipped' }
  } catch (error) {
    return { end: 'failed', failure: failureOf(tenant.placement.shard, tenant, error) }
  }
}

async function isLeaving ({ registry }: ManagerContext, { id, placement }: TenantRecord): Promise<boolean> {
  const now = await registry.findById(id)
  return now === undefined || now.status === 'deleting' || now.status === 'deleted' ||
    now.isolation === 'rls' || now.isolation === 'row' || now.placement.shard !== placement.shard
}

async function newcomers (
  context: ManagerContext,
  connection: Connection,
  sets: Sets,
  seen: ReadonlySet<string>
): Promise<readonly TenantState[]> {
  const listed = await listMeant(context, { only: undefined, schema: undefined })
  const unseen = listed.filter(({ id }) => !seen.has(id))
  return unseen.length === 0
    ? []
    : (await makePlan(context, connection, { ...sets, shared: undefined }, unseen)).tenants
}
