/** What {@link Manager.migrate} did. */
export interface MigrateReport {
  /** One for each shard that the shared set was meant for, or that a check looked at. */
  readonly shared: readonly SharedReport[]
  readonly tenants: TenantsReport
  readonly failures: readonly MigrationFailure[]
  /** Names of migrations that a check left out: from the first on that runs outside a transaction. */
  readonly unrehearsed: readonly string[]
}

/** The shared set on one shard. */
export interface SharedReport {
  readonly shard: string
  /** Names of the migrations that ran, or would with `check` and `dryRun`. */
  readonly applied: readonly string[]
  /** Tables of the schema that `options.tables` does not list: nobody but their owner may read them. */
  readonly unlisted: readonly string[]
  /** Tables that hold rows of tenants and have no policy. */
  readonly unprotected: readonly string[]
}

/** How many tenants of the strategies `schema` and `database` had which end. */
export interface TenantsReport {
  /** Have migrations that ran now, or would with `dryRun`. */
  readonly migrated: number
  /** Had them all before. */
  readonly current: number
  /** Were deleted meanwhile. */
  readonly skipped: number
  readonly failed: number
  /** Were not begun, because of failures before them. */
  readonly left: number
}

export interface MigrationFailure {
  readonly shard: string
  /** The tenant's id; undefined for the shared tables. */
  readonly tenant?: string
  /** The tenant's slug. */
  readonly slug?: string
  /** Undefined where it failed before its first migration. */
  readonly migration?: string
  readonly error: Error
}
