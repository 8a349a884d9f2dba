import type { ManagerContext } from '../context/context.ts'
import type { LedgerState } from './compare.ts'
import { Connection } from './connection.ts'
import type { LedgerEntry } from './ledger.ts'
import { listMeant, makePlan, readSets, withOwnLedgers } from './plan.ts'

/** The migration state of one set of tables. */
export interface MigrationState {
  /** The newest applied migration; undefined before the first. */
  readonly version: string | undefined
  readonly isBehind: boolean
  /** Pending migrations in order. */
  readonly pending: readonly string[]
  /** Applied migrations that are newer than all that this process has. */
  readonly ahead: readonly string[]
  /** Why no migration may run: a file was changed or removed after its migration had run. */
  readonly problem: string | undefined
  /** The last failed attempt. */
  readonly failure: { readonly migration: string; readonly error: string; readonly at: Date } | undefined
}

export interface ShardMigrationState extends MigrationState {
  readonly shard: string
}

export interface TenantMigrationState extends MigrationState {
  readonly id: string
  readonly slug: string
}

/** The migration state of all shards and tenants. */
export interface MigrationStatus {
  /** The shared set, for each shard. */
  readonly shared: readonly ShardMigrationState[]
  /**
   * Active and suspended tenants with strategy `schema` or `database`. Tenants' own databases are
   * read; one that is unreachable has a `problem`.
   */
  readonly tenants: readonly TenantMigrationState[]
  /** Unreachable shards. `shared` and `tenants` do not include them. */
  readonly unreachable: readonly UnreachableState[]
}

export interface UnreachableState {
  readonly shard: string
  readonly error: string
  /** Number of tenants with strategy `schema` or `database` whose state is unknown. */
  readonly tenants: number
}

export async function migrationStatus (context: ManagerContext): Promise<MigrationStatus> {
  const sets = await readSets(context)
  const connection = new Connection()
  try {
    const remembered = await makePlan(
      context,
      connection,
      sets,
      sets.tenant === undefined ? [] : await listMeant(context, { only: undefined, schema: undefined })
    )
    const plan = await withOwnLedgers(context, remembered, sets.tenant ?? [], jobs)
    return {
      shared: plan.shared.map(({ shard, ...state }) => ({ shard, ...told(state) })),
      tenants: plan.tenants.map(({ tenant: { id, slug }, ...state }) => ({ id, slug, ...told(state) })),
      unreachable: plan.unreachable.map(({ shard, error, tenants }) => ({
        shard,
        error: error.message,
        tenants: tenants.length
      }))
    }
  } finally {
    await connection.close()
  }
}

/** Number of tenants' databases read at once. */
const jobs = 4

const notEnded = 'started outside a transaction, and has not ended'

function told (
  { entry: { applied, failure }, pending, ahead, problem }: LedgerState & { readonly entry: LedgerEntry }
): MigrationState {
  return {
    version: applied.at(-1)?.name,
    isBehind: pending.length > 0,
    pending: pending.map(({ name }) => name),
    ahead,
    problem,
    failure: failure && { migration: failure.name, error: failure.error ?? notEnded, at: failure.triedAt }
  }
}
