import type { ManagerContext } from '../context.ts'
import type { Standing } from './compare.ts'
import { Connection } from './connection.ts'
import type { LedgerEntry } from './ledger.ts'
import { listMeant, makePlan, readSets, withOwnLedgers } from './plan.ts'

/** How far one set of tables has come. */
export interface MigrationStanding {
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

export interface ShardMigrationStanding extends MigrationStanding {
  readonly shard: string
}

export interface TenantMigrationStanding extends MigrationStanding {
  readonly id: string
  readonly slug: string
}

/** How far the migrations have come everywhere. */
export interface MigrationStatus {
  /** The shared set, for each shard. */
  readonly shared: readonly ShardMigrationStanding[]
  /** Tenants of the strategies `schema` and `database` that are active or suspended. Own databases are asked; one that cannot be read has a `problem`. */
  readonly tenants: readonly TenantMigrationStanding[]
  /** The shards that cannot be reached; `shared` and `tenants` say nothing of them. */
  readonly unreachable: readonly UnreachableStanding[]
}

export interface UnreachableStanding {
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
      shared: plan.shared.map(({ shard, ...standing }) => ({ shard, ...told(standing) })),
      tenants: plan.tenants.map(({ tenant: { id, slug }, ...standing }) => ({ id, slug, ...told(standing) })),
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
  { entry: { applied, failure }, pending, ahead, problem }: Standing & { readonly entry: LedgerEntry }
): MigrationStanding {
  return {
    version: applied.at(-1)?.name,
    isBehind: pending.length > 0,
    pending: pending.map(({ name }) => name),
    ahead,
    problem,
    failure: failure && { migration: failure.name, error: failure.error ?? notEnded, at: failure.triedAt }
  }
}
