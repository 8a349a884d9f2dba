import { defineError, type TenancyError, type TenancyErrorConstructor } from '@fastify-tenancy/core'
import type { MigrateReport } from './migrate-report.ts'

/** 500, for operators: the migrations in the folder and those that have run do not fit together, or one cannot be read. Nothing was run. */
export const MigrationInvalidError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_MIGRATION_INVALID',
  500,
  'The migrations and the ledger do not fit together'
)
/** 500, for operators: a migration failed, or left rows of tenants without a policy. `report` says where; the same call goes on from there. */
export const MigrationFailedError = defineError(
  'FST_TENANCY_MIGRATION_FAILED',
  500,
  'A migration failed'
) as new(message?: string, options?: { cause?: unknown }) => MigrationFailedError

/** What the constructor of the same name makes. */
export interface MigrationFailedError extends TenancyError {
  readonly report: MigrateReport
}

/** A {@link MigrationFailedError} with its report. */
export function migrationFailed (
  message: string,
  report: MigrateReport,
  cause?: unknown
): MigrationFailedError {
  return Object.assign(new MigrationFailedError(message, { cause }), { report })
}
