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

export interface NonTransactionalRun extends Omit<TransactionalRun, 'direction' | 'migrations' | 'start'> {
  readonly migration: LoadedMigration
}

/**
 * Runs one migration outside a transaction: each of its statements is one by itself. What has come of it nobody can take back, so
 * that the ledger says when it is begun, and again how it ended; found begun and with nobody at work on it, it is not run again
 * before somebody has looked.
 *
 * ```sql
 * select tenancy.take_lock('tenancy migrate 7f3c', …);
 * begin; …; insert into tenancy.migration_ledger (tenant_id, name, checksum) values ('7f3c', '006_index', '…'); commit;
 * set role …; set search_path = "tenant_7f3c", pg_temp; set lock_timeout = 1000;
 * create index concurrently notes_color on notes (color);
 * begin; …; select tenancy.record_migration('7f3c', '006_index', '…'); commit
 * ```
 *
 * @throws StepFailure, and an error of the code TN423 while others are at work there
 */
export async function runOutsideTransaction (
  client: SqlClient,
  { migration, ...input }: NonTransactionalRun
): Promise<void> {
  const { target, isLocking } = input
  // Of the session: a statement goes on in the server when this process is killed, and keeps its lock until it has ended.
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
    // The rest is what every migration ends with; its statements have run.
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
    // A connection that is lost has lost them too.
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
      // Else `create index` would find its name taken, and with `if not exists` pass over it.
      for (const index of there.filter(index => isNamed(earlier, index))) await dropDead(client, index)
      await runUp(client, { target, migration, lockTimeout, ...rest }, () => {
        isPartial = true
      })
    })
    if ((await left()).length > 0) throw new Error('it returned as if all were well')
  } catch (error) {
    throw new StepFailure(
      migration,
      await recorded(client, { target, migration, isPartial, left }, error),
      isPartial
    )
  }
}

/** @param done told of each statement that stays, whatever comes after it */
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

/** Sends each statement as it comes. */
class Loose implements StatementRunner {
  readonly #ask: StatementRunner['run']
  readonly #done: () => void

  constructor (ask: StatementRunner['run'], done: () => void) {
    this.#ask = ask
    this.#done = done
  }

  async run (text: string, values: readonly unknown[]): ReturnType<StatementRunner['run']> {
    const result = await this.#ask(text, values)
    // A setting ends with the session's work here.
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

/** As the owner of the tables, where they are; afterwards the session is as it was. */
async function asOwner (
  client: SqlClient,
  { nonTransactionalPath }: MigrationTarget,
  lockTimeout: number,
  work: () => Promise<void>
): Promise<void> {
  const { rows: [was] } = await client.query<{ role: string; path: string; timeout: string }>(
    "select pg_catalog.current_setting('role') as role, pg_catalog.current_setting('search_path') as path, pg_catalog.current_setting('lock_timeout') as timeout"
  )
  const set =
    "pg_catalog.set_config('search_path', $1, false), pg_catalog.set_config('lock_timeout', $2, false)"
  const { rows: [there] } = await client.query<{ path: string }>(`select ${nonTransactionalPath} as path`)
  await client.query(
    `select pg_catalog.set_config('role', pg_catalog.pg_get_userbyid(nspowner), false), ${set} from pg_catalog.pg_namespace where nspname = 'tenancy'`,
    [there?.path, `${lockTimeout}`]
  )
  try {
    await work()
  } finally {
    // What it began and did not end would hold back all that follows. The error that matters is the one before.
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

// What it left is named in the ledger: there the next attempt looks for what it has to drop.
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
      ...(isPartial ? ['what it had committed by then stays, and is run again by the next call'] : [])
    ]
    const told = more.length === 0
      ? error
      : Object.assign(new Error([error.message, ...more].join('; '), { cause: error }), {
        code: sqlState(error)
      })
    await recordFailure(client, target.tenant, migration, told)
    return told
  } catch {
    // A lost connection takes the answer with it: the ledger goes on to say that the migration was begun.
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
    `migration '${name}' was begun outside a transaction at ${triedAt.toISOString()}, and whoever ran it is gone: nobody knows what it has done.`,
    ...(indexes.length > 0
      ? [
        `There is ${named(indexes)}: ${
          indexes.map(({ name }) => `drop index concurrently ${name}`).join('; ')
        }.`
      ]
      : []),
    `Look, and then, as the owner's login, either let it run again: delete from ${ledger} ${where}; or take it for run: update ${ledger} set applied_at = now() ${where}`
  ].join(' ')
}

function named (indexes: readonly InvalidIndex[]): string {
  return `${indexes.length === 1 ? 'the INVALID index' : 'the INVALID indexes'} ${
    indexes.map(({ name }) => name).join(', ')
  }`
}

/** Whether what {@link named} wrote has it, and not one whose name begins or ends alike. */
function isNamed (text: string, { name }: InvalidIndex): boolean {
  return text.includes(` ${name},`)
}
