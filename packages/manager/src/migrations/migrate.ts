import type { ManagerContext } from '../context/context.ts'
import { resolveMigrateInput, type MigrateInput,
  type ResolvedMigrateInput } from '../context/migrations-options.ts'
import { CatalogAnnouncer } from './announce.ts'
import { check, type Checked } from './check.ts'
import { Connection } from './connection.ts'
import { migrationFailed } from './errors.ts'
import type { MigrateReport, SharedReport, MigrationFailure } from './migrate-report.ts'
import { migrateTenants } from './migrate-tenants.ts'
import { assertSound, listMeant, makePlan, readSets, type Plan, type Sets } from './plan.ts'
import { failureOf, sentence, tally } from './report.ts'
import { migrateShared } from './shared.ts'

/**
 * Makes a plan, refuses ledgers that do not match, then runs the shared set on each shard and the
 * tenants' sets after it.
 */
export async function migrate (context: ManagerContext, given: MigrateInput): Promise<MigrateReport> {
  const input = resolveMigrateInput(given)
  const sets = await readSets(context, input.set)
  const connection = new Connection()
  const announcer = new CatalogAnnouncer(context)
  try {
    const listed = sets.tenant === undefined ? [] : await listMeant(context, input)
    const plan = await makePlan(context, connection, sets, listed)
    assertSound(plan)
    if (input.dryRun) return finished(planned(plan), plan)
    if (input.check)
      return finished(checked(await check(context, connection, { ...input, plan, sets }), plan), plan)
    const shared = await migrateShards(context, connection, plan, sets, { ...input, announcer })
    await connection.close()
    const failures: MigrationFailure[] = []
    const tenants = await migrateTenants(context, plan.tenants, sets, { ...input, announcer }, failures)
    return finished({ shared, tenants, failures, unrehearsed: [] }, plan)
  } finally {
    await connection.close()
    // A migration that failed half-way may have changed tables, too.
    await announcer.flush()
  }
}

async function migrateShards (
  context: ManagerContext,
  connection: Connection,
  { shared }: Plan,
  sets: Sets,
  { lockTimeout, retries, announcer }: ResolvedMigrateInput & { readonly announcer: CatalogAnnouncer }
): Promise<SharedReport[]> {
  const reports: SharedReport[] = []
  for (const state of shared) {
    const { shard, pending } = state
    try {
      const report = await migrateShared(context, connection, {
        state,
        migrations: sets.shared ?? [],
        lockTimeout,
        retries
      })
      reports.push(report)
      if (report.applied.length > 0) await announcer.changed()
    } catch (error) {
      // A non-transactional migration may have changed tables before it failed.
      await announcer.changed()
      const failure = failureOf(shard, undefined, error)
      const what = pending.some(({ isNonTransactional }) => isNonTransactional)
        ? 'earlier statements stay committed'
        : `nothing of shard '${shard}' was changed`
      throw migrationFailed(`${sentence(failure)}: ${what}`, {
        shared: reports,
        tenants: tally(),
        failures: [failure],
        unrehearsed: []
      }, failure.error)
    }
    context.options.progress?.({
      operation: 'migrate',
      step: `shared:${shard}`,
      done: reports.length,
      total: shared.length
    })
  }
  return reports
}

function planned ({ shared, tenants }: Plan): MigrateReport {
  const migrated = tenants.filter(({ pending }) => pending.length > 0).length
  return {
    shared: shared.map(({ shard, pending }) => ({
      shard,
      applied: pending.map(({ name }) => name),
      unlisted: [],
      unprotected: []
    })),
    tenants: { ...tally(), migrated, current: tenants.length - migrated },
    failures: [],
    unrehearsed: []
  }
}

function checked ({ shared, unrehearsed }: Checked, plan: Plan): MigrateReport {
  const report = { ...planned(plan), shared, unrehearsed }
  const open = shared.find(({ unprotected }) => unprotected.length > 0)
  if (open === undefined) return report
  const tables = open.unprotected.map(name => `'${name}'`).join(', ')
  throw migrationFailed(
    `rows of tenants would be in ${tables} without a policy: list the tables in options.tables.tenant, ` +
      'and run `tenancy protect` if they exist already',
    report
  )
}

/** Returns the report, or throws it if a migration failed or a shard is unreachable. */
function finished (done: MigrateReport, { unreachable }: Plan): MigrateReport {
  const failures = [...done.failures,
    ...unreachable.map(({ shard, error }) => failureOf(shard, undefined, error))]
  const left = unreachable.reduce((sum, { tenants }) => sum + tenants.length, done.tenants.left)
  const report = { ...done, failures, tenants: { ...done.tenants, left } }
  const [first] = failures
  if (first === undefined) return report
  const more = [
    ...(failures.length > 1 ? [`${failures.length - 1} more failed`] : []),
    ...(left > 0 ? [`${left} were not begun`] : [])
  ]
  throw migrationFailed(
    `${sentence(first)}${more.length > 0 ? `; of the others, ${more.join(' and ')}` : ''}`,
    report,
    first.error
  )
}
