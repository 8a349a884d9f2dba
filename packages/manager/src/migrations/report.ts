import type { TenantsReport, MigrationFailure } from './migrate-report.ts'
import { StepFailure } from './run-in-transaction.ts'

/** Returns a report in which all counts are zero. */
export function tally (): { -readonly [K in keyof TenantsReport]: TenantsReport[K] } {
  return { migrated: 0, current: 0, skipped: 0, failed: 0, left: 0 }
}

export function failureOf (
  shard: string,
  tenant: { readonly id: string; readonly slug: string } | undefined,
  error: unknown
): MigrationFailure {
  const isStep = error instanceof StepFailure
  const cause = isStep ? error.cause : error
  return {
    shard,
    ...(tenant !== undefined && { tenant: tenant.id, slug: tenant.slug }),
    ...(isStep && { migration: error.migration.name }),
    error: cause instanceof Error ? cause : new Error(String(cause))
  }
}

/** Returns a sentence about what failed and where. */
export function sentence (
  { slug, shard, migration, error }: MigrationFailure,
  where: string = slug === undefined ? `the shared tables of shard '${shard}'` : `tenant ${slug}`
): string {
  return `${
    migration === undefined ? 'migrating' : `migration '${migration}' of`
  } ${where} failed: ${error.message}`
}
