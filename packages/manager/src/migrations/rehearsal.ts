import { quoteName, sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { pathWithExtensions } from '@fastify-tenancy/postgres/tables'
import { Kysely, type Transaction } from 'kysely'
import { setImmediate } from 'node:timers/promises'

import { asideFor, assertBorder, borderCode, markBorder, nameRelations } from './border.ts'
import { retryDelay, passing } from './bring-up.ts'
import type { Connection, ConnectionSource } from './connection.ts'
import { DdlBuffer } from './ddl-buffer.ts'
import { MigrationDialect } from './dialect.ts'
import { becomeOwner } from './ledger.ts'
import { forgetSession } from './migration-target.ts'
import type { LoadedMigration } from './read-migrations.ts'
import { StepFailure } from './run-in-transaction.ts'

/** Migrations to try in one schema. */
export interface Part {
  /** Description for error messages. */
  readonly where: string
  readonly tenant?: { readonly id: string; readonly slug: string }
  readonly schema: string
  /** Whether the rehearsal creates the schema. */
  readonly isNew?: boolean
  /** Whether the migrations are a tenant's, and must stay in the schema. */
  readonly isBordered?: boolean
  readonly migrations: readonly LoadedMigration[]
  /** Runs after the migrations, as the login. */
  readonly after?: (client: SqlClient) => Promise<void>
}

interface RehearsalInput {
  readonly source: ConnectionSource
  readonly parts: (client: SqlClient) => Promise<readonly Part[]>
  /** Runs at the end, as the login, before the rollback. */
  readonly end: (client: SqlClient) => Promise<void>
  /** In milliseconds. */
  readonly lockTimeout: number
  readonly retries: number
}

/** Why a part failed. Everything was rolled back, except after {@link TransactionEnded}. */
class PartFailure extends Error {
  readonly at: Part
  override readonly cause: unknown

  constructor (at: Part, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause))
    this.at = at
    this.cause = cause
  }
}

/** A migration ended the transaction undetected, so some of it is committed. */
export class TransactionEnded extends Error {}

// Bounds the transaction, because it keeps a lock on every table that it touched. Bounds that the
// login already has stay.
const bounds = `
  do $$ declare setting text; value text; begin
    for setting, value in values
      ('statement_timeout', '1min'),
      ('idle_in_transaction_session_timeout', '10s'),
      ('client_connection_check_interval', '1s')
    loop
      begin
        if pg_catalog.current_setting(setting) = '0' then
          perform pg_catalog.set_config(setting, value, true);
        end if;
      exception when others then null; -- not supported by this server or its platform
      end;
    end loop;
  end $$`

class TakenBack extends Error {}

/**
 * Runs migrations in a transaction that is always rolled back.
 *
 * @returns the names of the migrations that did not run: those from the first non-transactional one
 *   on
 * @throws PartFailure
 */
export async function rehearse (
  connection: Connection,
  { source, parts, end, lockTimeout, retries }: RehearsalInput
): Promise<readonly string[]> {
  for (let attempt = 1;; attempt++) {
    try {
      return await connection.use(source, async client => {
        // Removes what an earlier run left in the session. The settings of a pool that the caller
        // passed stay.
        if (typeof source === 'string') await client.query(forgetSession.join('; '))
        return takenBack(client, { parts: await parts(client), end, lockTimeout }).catch(
          async (error: unknown) => {
            throw await withDropped(client, error)
          }
        )
      })
    } catch (error) {
      const cause = error instanceof PartFailure ? error.cause : error
      if (attempt > retries || !passing.has(sqlState(cause instanceof StepFailure ? cause.cause : cause)))
        throw error
      await retryDelay(attempt)
    }
  }
}

async function takenBack (
  client: SqlClient,
  { parts, end, lockTimeout }: Pick<RehearsalInput, 'end' | 'lockTimeout'> & {
    readonly parts: readonly Part[]
  }
): Promise<readonly string[]> {
  const buffer = new DdlBuffer(client, ['begin', `set local lock_timeout = ${lockTimeout}`, bounds,
    "set local tenancy.migrating = 'check'"])
  const left = new Set<string>()
  try {
    await new Kysely<unknown>({ dialect: new MigrationDialect(buffer) }).transaction().execute(async trx => {
      for (const part of parts) {
        try {
          await runPart(client, { buffer, trx, part, left })
        } catch (error) {
          throw new PartFailure(part, error)
        }
      }
      await buffer.flush()
      await end(client)
      throw new TakenBack()
    })
  } catch (error) {
    if (!(error instanceof TakenBack)) throw error
  }
  return [...left]
}

// Only after the rollback does the catalog have the names of dropped relations.
async function withDropped (client: SqlClient, error: unknown): Promise<unknown> {
  if (!(error instanceof PartFailure && error.cause instanceof StepFailure)) return error
  const { at, cause: { migration, cause } } = error
  return sqlState(cause) === borderCode
    ? new PartFailure(at, new StepFailure(migration, await nameRelations(client, cause)))
    : error
}

interface PartInput {
  readonly buffer: DdlBuffer
  readonly trx: Transaction<unknown>
  readonly part: Part
  readonly left: Set<string>
}

async function runPart (
  client: SqlClient,
  { buffer, trx, part: { schema, isNew = false, isBordered = false, migrations, after }, left }: PartInput
): Promise<void> {
  buffer.add(becomeOwner)
  if (isNew) buffer.add(`create schema ${quoteName(schema)}`)
  const path = `select pg_catalog.set_config('search_path', ${pathWithExtensions(schema)}, true)`
  const mark = isBordered ? [...asideFor(markBorder(schema)), path] : [path]
  for (const text of mark) buffer.add(text)
  const end = migrations.findIndex(({ isNonTransactional }) => isNonTransactional)
  const [tried, untried] = end < 0 ? [migrations, []] : [migrations.slice(0, end), migrations.slice(end)]
  for (const [index, migration] of tried.entries()) {
    // An earlier migration may have left another path or role.
    if (index > 0) { for (const text of [becomeOwner, ...mark]) buffer.add(text) }
    try {
      await migration.migration.up(trx)
      await setImmediate()
      buffer.assertIdle()
      const { rows: [row] } = await buffer.run(
        "select pg_catalog.current_setting('tenancy.migrating', true) as state",
        []
      )
      if ((row as { state?: string } | undefined)?.state !== 'check')
        throw new TransactionEnded(
          'the migration ended its transaction, so its earlier statements stay committed: ' +
            'remove commit and rollback from it'
        )
      if (!isBordered) continue
      for (const text of asideFor(assertBorder(schema))) buffer.add(text)
      await buffer.flush()
    } catch (error) {
      throw new StepFailure(migration, error)
    }
  }
  for (const { name } of untried) left.add(name)
  buffer.add('set local role none')
  await buffer.flush()
  await after?.(client)
}
