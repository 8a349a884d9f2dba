import { SetupInvalidError } from '@fastify-tenancy/postgres'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { bootRefusal, type LevelReport } from '@fastify-tenancy/postgres/doctor'

import type { ResolvedDatabaseOptions } from '../options/options.ts'

// A warning only from level 2 on, because below it the level's reasons are worse.
const unsigned =
  'contexts are not signed, so that they stop mistakes and no attacker: injected SQL can name another ' +
  'tenant; give options.rls.secret, and run `tenancy init` and `tenancy protect` with it'
const cannotListen =
  'tenants are looked up through a pooler, where LISTEN receives nothing: a change of a tenant that is ' +
  'not published through redis is seen when the cached copies of it have expired; ' +
  'give options.database.registryUrl an address that is not pooled by transaction'

/** Returns the warnings of a boot that concern the options as a whole. */
export function warningsOf ({ isolation, rls }: ResolvedDatabaseOptions, canBeNotified: boolean): string[] {
  const isOpen = process.env.NODE_ENV === 'production' && isolation === 'rls' && rls.secrets.length === 0
  return [...(canBeNotified ? [] : [cannotListen]), ...(isOpen ? [unsigned] : [])]
}

/**
 * Refuses what a boot found. Called with the report of all shards, and of a late shard once it is
 * reachable.
 *
 * @throws FST_TENANCY_SETUP_INVALID
 */
export function assertAllowed (
  { level, reasons, findings = [] }: LevelReport,
  { requireLevel, doctor }: ResolvedDatabaseOptions['database']
): void {
  if (level < requireLevel) {
    throw new SetupInvalidError(
      `the database reaches level L${level}, and options.database.requireLevel asks for L${requireLevel}: ${
        reasons.join('; ')
      }`
    )
  }
  const refusal = doctor === 'refuse' && process.env.NODE_ENV === 'production'
    ? bootRefusal(findings)
    : undefined
  if (refusal !== undefined) throw new SetupInvalidError(refusal)
}

/**
 * Returns the report with the tenants that differ from the default strategy, which alone the options
 * hold.
 *
 * @param registry the suite's registry; undefined with a custom one
 */
export async function withTenants (
  report: LevelReport,
  registry: SqlClient | undefined
): Promise<LevelReport> {
  if (report.level < 4 || registry === undefined) return report
  const { rows: [row] } = await registry.query<{ shares: boolean }>(
    `select exists (select from tenancy.tenants
      where isolation <> 'database' and status <> 'deleted') as shares`
  )
  return row?.shares === true
    ? { ...report, level: 3, reasons: ['some tenants have no database of their own and share one login'] }
    : report
}
