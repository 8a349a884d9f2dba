import type { ManagerContext } from '../context/context.ts'
import type { LedgerState } from './compare.ts'
import { Connection } from './connection.ts'
import type { LedgerEntry } from './ledger.ts'
import { listMeant, makePlan, readSets, withOwnLedgers } from './plan.ts'

/** How far one set of tables has come. */
export interface MigrationState {
  /** The newest migration that has run; undefined before the first. */
  readonly version: string | undefined
  readonly isBehind: boolean
  /** What has not run, in order. */
  readonly pending: readonly string[]
  /** What has run and is newer than all that this process knows. */
  readonly ahead: readonly string[]
  /** Why nothing may run: a file that was changed or taken away after it had run. */
  readonly problem: string | undefined
  /** The last attempt, where it failed. */
  readonly failure: { readonly migration: string; readonly error: string; readonly at: Date } | undefined
}

export interface ShardMigrationState extends MigrationState {
  readonly shard: string
}

export interface TenantMigrationState extends MigrationState {
  readonly id: string
  readonly slug: string
}

/** How far the migrations have come everywhere. */
export interface MigrationStatus {
  /** The shared set, for each shard. */
  readonly shared: readonly ShardMigrationState[]
  /** Tenants of the strategies `schema` and `database` that are active or suspended. Own databases are asked; one that cannot be read has a `problem`. */
  readonly tenants: readonly TenantMigrationState[]
  /** The shards that cannot be reached; `shared` and `tenants` say nothing of them. */
  readonly unreachable: readonly UnreachableState[]
}

export interface UnreachableState {
  readonly shard: string
  readonly error: string
  /** How many tenants of the strategies `schema` and `database` could not be looked at. */
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

/** How many databases of tenants are asked at once. */
const jobs = 4

const notEnded = 'was begun outside a transaction, and has not ended'

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
