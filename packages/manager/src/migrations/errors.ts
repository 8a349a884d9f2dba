import type { TenancyError } from '@fastify-tenancy/core'
import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core/errors'
import type { MigrateReport } from './migrate-report.ts'

/**
 * 500, for operators: the available migrations do not match the ledger, or one cannot be loaded.
 * Nothing was run.
 */
export const MigrationInvalidError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_MIGRATION_INVALID',
  500,
  'The migrations and the ledger do not fit together'
)
/**
 * 500, for operators: a migration failed, or left tenant rows in a table without a policy. `report`
 * says where. The same call resumes.
 */
export const MigrationFailedError = defineError(
  'FST_TENANCY_MIGRATION_FAILED',
  500,
  'A migration failed'
) as new(message?: string, options?: { cause?: unknown }) => MigrationFailedError

/** An instance of the class of the same name. */
export interface MigrationFailedError extends TenancyError {
  readonly report: MigrateReport
}

/** Returns a {@link MigrationFailedError} with its report. */
export function migrationFailed (
  message: string,
  report: MigrateReport,
  cause?: unknown
): MigrationFailedError {
  return Object.assign(new MigrationFailedError(message, { cause }), { report })
}
