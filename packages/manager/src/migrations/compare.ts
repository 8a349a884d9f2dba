import type { AppliedMigration } from './ledger.ts'
import type { LoadedMigration } from './read-migrations.ts'

/** Which migrations one target has applied. */
export interface LedgerState {
  /** In order of their names. */
  readonly pending: readonly LoadedMigration[]
  /**
   * Applied migrations that are newer than all that this process has. A newer version of the
   * application applied them.
   */
  readonly ahead: readonly string[]
  /** Why no migration may run here. */
  readonly problem: string | undefined
}

/**
 * Compares the applied migrations with the available ones, both in order of their names. The
 * applied ones must be the first of the available ones, with equal checksums.
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
      : `migration '${ran.name}' was changed after it had run: ` +
        'revert the change, and put it into a new migration'
  }
  return all.some(({ name }) => name === ran.name)
    ? `migration '${now?.name}' has not run, but sorts before '${ran.name}', which has run: ` +
      'give it a later name'
    : `migration '${ran.name}' has run, but its file is missing: restore the file`
}
