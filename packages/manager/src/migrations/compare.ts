import type { AppliedMigration } from './ledger.ts'
import type { LoadedMigration } from './read-migrations.ts'

/** How far one place has come. */
export interface LedgerState {
  /** In order. */
  readonly pending: readonly LoadedMigration[]
  /** What has run here and is newer than all that this process knows: a newer version of the application did it. */
  readonly ahead: readonly string[]
  /** Why nothing may run here. */
  readonly problem: string | undefined
}

/**
 * Holds what has run against what there is, both in order of their names. What has run must be the beginning of what there is,
 * as it was then.
 */
export function compareLedger (
  applied: readonly AppliedMigration[],
  migrations: readonly LoadedMigration[]
): LedgerState {
  const problem = applied.slice(0, migrations.length).map((ran, index) =>
    problemOf(ran, migrations[index], migrations)
  ).find(text => text !== undefined)
  return {
    pending: problem === undefined ? migrations.slice(applied.length) : [],
    ahead: applied.slice(migrations.length).map(({ name }) => name),
    problem
  }
}

function problemOf (
  ran: AppliedMigration,
  now: LoadedMigration | undefined,
  all: readonly LoadedMigration[]
): string | undefined {
  if (ran.name === now?.name) {
    return ran.checksum === now.checksum
      ? undefined
      : `migration '${ran.name}' was changed after it had run: take the change back, and put it into a new migration`
  }
  return all.some(({ name }) => name === ran.name)
    ? `migration '${now?.name}' has not run, and comes before '${ran.name}', which has: give it a later name`
    : `migration '${ran.name}' has run and is not there any more: put it back`
}
