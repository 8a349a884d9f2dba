/** The result of {@link Manager.migrate}. */
export interface MigrateReport {
  /** One entry for each shard on which the shared set was to run, or that a check inspected. */
  readonly shared: readonly SharedReport[]
  readonly tenants: TenantsReport
  readonly failures: readonly MigrationFailure[]
  /** Names of migrations that a check left out: those from the first non-transactional one on. */
  readonly unrehearsed: readonly string[]
}

/** Result of the shared set on one shard. */
export interface SharedReport {
  readonly shard: string
  /** Names of the migrations that ran, or would run with `check` and `dryRun`. */
  readonly applied: readonly string[]
  /** Tables of the schema that `options.tables` does not list. Only their owner can read them. */
  readonly unlisted: readonly string[]
  /** Tables that contain rows of tenants but have no policy. */
  readonly unprotected: readonly string[]
}

/** Numbers of tenants with strategy `schema` or `database`, by result. */
export interface TenantsReport {
  /** Tenants with migrations that ran now, or would run with `dryRun`. */
  readonly migrated: number
  /** Tenants that had no pending migration. */
  readonly current: number
  /** Tenants that were deleted meanwhile. */
  readonly skipped: number
  readonly failed: number
  /** Tenants that were not begun because of earlier failures. */
  readonly left: number
}

export interface MigrationFailure {
  readonly shard: string
  /** The tenant's id; undefined for the shared set. */
  readonly tenant?: string
  /** The tenant's slug. */
  readonly slug?: string
  /** Undefined if it failed before its first migration. */
  readonly migration?: string
  readonly error: Error
}
