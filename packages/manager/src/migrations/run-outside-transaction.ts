import { quoteText, sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { Kysely } from 'kysely'
import { setImmediate } from 'node:timers/promises'

import { tenantLock } from '../context/locks.ts'
import { giveLock, acquireLock } from '../context/session-lock.ts'
import { BorderAlone } from './border-alone.ts'
import { MigrationDialect, type StatementRunner } from './dialect.ts'
import { MigrationInvalidError } from './errors.ts'
import { dropDead, invalidIndexes, type InvalidIndex } from './invalid-indexes.ts'
import { readEntry, recordFailure, recordStart, type LedgerEntry } from './ledger.ts'
import type { MigrationTarget } from './migration-target.ts'
import type { LoadedMigration } from './read-migrations.ts'
import { runInTransaction, StepFailure, type TransactionalRun } from './run-in-transaction.ts'

interface NonTransactionalRun extends Omit<TransactionalRun, 'direction' | 'migrations' | 'start'> {
  readonly migration: LoadedMigration
}

/**
 * Runs one migration outside a transaction, statement by statement. Its effects cannot be rolled
 * back, so the ledger records its start and its end. A migration that has started without an end,
 * and that no process runs, is not retried until an operator has checked it.
 *
 * ```sql
 * select tenancy.take_lock('tenancy migrate 7f3c', …);
 * begin; …;
 * insert into tenancy.migration_ledger (tenant_id, name, checksum) values ('7f3c', '006_index', '…');
 * commit;
 * set role …; set search_path = "tenant_7f3c", pg_temp; set lock_timeout = 1000;
 * create index concurrently notes_color on notes (color);
 * begin; …; select tenancy.record_migration('7f3c', '006_index', '…'); commit
 * ```
 *
 * @throws StepFailure, or an error with code TN423 while another process works there
 */
export async function runOutsideTransaction (
  client: SqlClient,
  { migration, ...input }: NonTransactionalRun
): Promise<void> {
  const { target, isLocking } = input
  // Session locks, because a statement continues on the server after this process is killed. It
  // keeps its lock until it has ended.
  const names = [`tenancy migrate ${target.tenant}`,
    ...(isLocking && target.hasRegistry ? [tenantLock(target.tenant)] : [])]
  await locked(client, names, async () => {
    const { failure } = await readEntry(client, target.tenant)
    const earlier = failure?.name === migration.name ? failure : undefined
    if (earlier !== undefined && earlier.error === undefined)
      throw new StepFailure(migration, new MigrationInvalidError(await unknownEnd(client, target, earlier)))
    await runInTransaction(client, {
      ...input,
      direction: 'up',
      migrations: [],
      finish: undefined,
      start: recordStart(target.tenant, migration)
    })
    await runStatements(client, { migration, ...input, earlier: earlier?.error ?? '' })
    // Its statements have run. This transaction runs the stamp, the ledger entry and `finish`.
    await runInTransaction(client, {
      ...input,
      direction: 'up',
      migrations: [{ ...migration, migration: { up: async () => {} } }]
    })
  })
}

async function locked (
  client: SqlClient,
  names: readonly string[],
  work: () => Promise<void>
): Promise<void> {
  const had: [string, string][] = []
  try {
    for (const name of names) {
      const key = await acquireLock(client, name)
      if (key === undefined)
        throw Object.assign(new Error('another process is at work on these tables'), { code: 'TN423' })
      had.push([name, key])
    }
    await work()
  } finally {
    // A lost connection has released its locks already.
    for (const [name, key] of had) await giveLock(client, name, key).catch(() => {})
  }
}

async function runStatements (
  client: SqlClient,
  { target, migration, lockTimeout, earlier, ...rest }: NonTransactionalRun & { readonly earlier: string }
): Promise<void> {
  let before: ReadonlySet<string> = new Set()
  let isPartial = false
  const look = (): Promise<InvalidIndex[]> => invalidIndexes(client, target.schema)
  const left = async (): Promise<InvalidIndex[]> => (await look()).filter(({ oid }) => !before.has(oid))
  try {
    await asOwner(client, target, lockTimeout, async () => {
      const there = await look()
      before = new Set(there.filter(index => !isNamed(earlier, index)).map(({ oid }) => oid))
      // Otherwise `create index` would fail because the name exists, or skip it with `if not
      // exists`.
      for (const index of there.filter(index => isNamed(earlier, index))) await dropDead(client, index)
      await runUp(client, { target, migration, lockTimeout, ...rest }, () => {
        isPartial = true
      })
    })
    if ((await left()).length > 0) throw new Error('the migration returned without an error')
  } catch (error) {
    throw new StepFailure(
      migration,
      await recorded(client, { target, migration, isPartial, left }, error),
      isPartial
    )
  }
}

/**
 * Runs the migration's `up`.
 *
 * @param done called after each statement whose effect stays if a later one fails
 */
async function runUp (
  client: SqlClient,
  { target: { isBordered, schema }, migration: { migration } }: NonTransactionalRun,
  done: () => void
): Promise<void> {
  let running = 0
  const ask: StatementRunner['run'] = (text, values) =>
    client.query(text, values.length === 0 ? undefined : [...values])
  const runner: StatementRunner = isBordered
    ? new BorderAlone(client, { schema, ask, done })
    : new Loose(ask, done)
  const counted = async <T>(work: Promise<T>): Promise<T> => {
    running++
    try {
      return await work
    } finally {
      running--
    }
  }
  await migration.up(
    new Kysely<unknown>({
      dialect: new MigrationDialect({
        run: (text, values) => counted(runner.run(text, values)),
        begin: () => counted(runner.begin()),
        commit: () => counted(runner.commit()),
        rollback: () => counted(runner.rollback())
      })
    })
  )
  await setImmediate()
  if (running > 0)
    throw new Error('a migration returned before one of its statements had: await every statement')
  if (runner instanceof BorderAlone) await runner.assertUnchanged()
}

/** Sends each statement as is. */
class Loose implements StatementRunner {
  readonly #ask: StatementRunner['run']
  readonly #done: () => void

  constructor (ask: StatementRunner['run'], done: () => void) {
    this.#ask = ask
    this.#done = done
  }

  async run (text: string, values: readonly unknown[]): ReturnType<StatementRunner['run']> {
    const result = await this.#ask(text, values)
    // A setting only lasts until the session is restored, so it does not count.
    if (result.command !== 'SET') this.#done()
    return result
  }

  async begin (): Promise<void> {
    await this.run('begin', [])
  }

  async commit (): Promise<void> {
    await this.run('commit', [])
  }

  async rollback (): Promise<void> {
    await this.run('rollback', [])
  }
}

/** Runs `work` as the owner with the target's search path, then restores the session. */
async function asOwner (
  client: SqlClient,
  { nonTransactionalPath }: MigrationTarget,
  lockTimeout: number,
  work: () => Promise<void>
): Promise<void> {
  const { rows: [was] } = await client.query<{ role: string; path: string; timeout: string }>(
    `
    select pg_catalog.current_setting('role') as role, pg_catalog.current_setting('search_path') as path,
      pg_catalog.current_setting('lock_timeout') as timeout`
  )
  const set =
    "pg_catalog.set_config('search_path', $1, false), pg_catalog.set_config('lock_timeout', $2, false)"
  const { rows: [there] } = await client.query<{ path: string }>(`select ${nonTransactionalPath} as path`)
  await client.query(
    `
    select pg_catalog.set_config('role', pg_catalog.pg_get_userbyid(nspowner), false), ${set}
    from pg_catalog.pg_namespace where nspname = 'tenancy'`,
    [there?.path, `${lockTimeout}`]
  )
  try {
    await work()
  } finally {
    // Ends a transaction that the migration left open, otherwise the following statements would
    // fail. Errors here are ignored, because the first error is the cause.
    await client.query('rollback').catch(() => {})
    await client.query(`select pg_catalog.set_config('role', $3, false), ${set}`, [was?.path ?? '',
      was?.timeout ?? '0', was?.role ?? 'none']).catch(() => {})
  }
}

interface Failed {
  readonly target: MigrationTarget
  readonly migration: LoadedMigration
  readonly isPartial: boolean
  readonly left: () => Promise<InvalidIndex[]>
}

// Records the failure with the names of invalid indexes, because the next attempt reads them from
// the ledger to drop them.
async function recorded (
  client: SqlClient,
  { target, migration, isPartial, left }: Failed,
  cause: unknown
): Promise<unknown> {
  const error = cause instanceof Error ? cause : new Error(String(cause))
  try {
    const indexes = await left()
    const more = [
      ...(indexes.length > 0 ? [`it left ${named(indexes)}, which the next attempt drops`] : []),
      ...(isPartial ? ['its earlier statements stay committed, and the next call runs them again'] : [])
    ]
    const told = more.length === 0
      ? error
      : Object.assign(new Error([error.message, ...more].join('; '), { cause: error }), {
        code: sqlState(error)
      })
    await recordFailure(client, target.tenant, migration, told)
    return told
  } catch {
    // After a lost connection the ledger cannot be written. It still says that the migration has
    // started.
    return error
  }
}

async function unknownEnd (
  client: SqlClient,
  { tenant, schema }: MigrationTarget,
  { name, triedAt }: NonNullable<LedgerEntry['failure']>
): Promise<string> {
  const indexes = await invalidIndexes(client, schema)
  const ledger = 'tenancy.migration_ledger'
  const where = `where tenant_id = ${quoteText(tenant)} and name = ${quoteText(name)}`
  return [
    `migration '${name}' started outside a transaction at ${triedAt.toISOString()}, and its process died, ` +
    'so its result is unknown.',
    ...(indexes.length > 0
      ? [
        `There is ${named(indexes)}: ${
          indexes.map(({ name }) => `drop index concurrently ${name}`).join('; ')
        }.`
      ]
      : []),
    "Check what it has done. Then, as the owner's login, " +
    `either let it run again: delete from ${ledger} ${where}; ` +
    `or record it as applied: update ${ledger} set applied_at = now() ${where}`
  ].join(' ')
}

function named (indexes: readonly InvalidIndex[]): string {
  return `${indexes.length === 1 ? 'the INVALID index' : 'the INVALID indexes'} ${
    indexes.map(({ name }) => name).join(', ')
  }`
}

/**
 * Whether a text of {@link named} contains exactly this index. The delimiters exclude names of
 * which this one is a part.
 */
function isNamed (text: string, { name }: InvalidIndex): boolean {
  return text.includes(` ${name},`)
}
