import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'
import { randomBytes } from 'node:crypto'

import type { WireStatement } from './batch-end.ts'

/** The steps that a reset needs in one database besides `discard all`. */
export interface ResetRules {
  /** Statements that close the connections which extensions keep in the session. */
  readonly extra: readonly string[]
  /**
   * Whether no reset can restore the session's first state. The connection is then closed instead.
   */
  readonly isImpossible: boolean
}

/** The rules of a database that needs only `discard all`. */
export const plainReset: ResetRules = { extra: [], isImpossible: false }

/** The warning at boot about a database in which {@link ResetRules.isImpossible} is true. */
export const unresettable: string =
  'a procedural language besides SQL and PL/pgSQL keeps values in the session, ' +
  'or a login trigger makes settings there: a connection that one tenant touched is closed ' +
  'instead of reset before it serves another; drop the language or the trigger if nothing uses it'

/** Returns an unnamed statement of the driver without parameters. */
export function control (text: string): WireStatement {
  return { text, values: [], name: '', isParsed: false, chunk: 0 }
}

/** Must be the first statement of its batch, because PostgreSQL refuses it behind any other. */
export const discardAll: WireStatement = control('discard all')
export const discardSequences: WireStatement = control('discard sequences')
/**
 * Precedes a read of the catalog. Otherwise operators or functions of another schema could be
 * called.
 */
export const catalogPath: WireStatement = control(
  "select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)"
)
export const deallocateAll: WireStatement = control('deallocate all')

/**
 * Returns the statements that reset what `discard all` keeps: the seed of `random()` and the
 * connections of extensions. `set seed` takes half the time of `select setseed()`, and like it is
 * not undone by a rollback.
 */
export function afterDiscard ({ extra }: ResetRules): WireStatement[] {
  return [control(`set seed to ${randomSeed()}`), ...extra.map(control)]
}

/**
 * Returns the simple query that undoes a transaction's changes to a pooler's backend. It runs in
 * the transaction opened by `commit and chain` or `rollback and chain`. If it fails, that
 * transaction stays open, so the pooler closes the backend with the driver's connection.
 *
 * Not `discard all`, which PostgreSQL refuses in a transaction.
 */
export function undoText ({ extra }: ResetRules): string {
  return ['set session authorization default', 'reset role', 'reset all', 'close all', 'unlisten *',
    'deallocate all', 'discard temp', 'discard sequences', 'discard plans', ...extra,
    'select pg_catalog.pg_backend_pid(), pg_catalog.pg_advisory_unlock_all(), ' +
    `pg_catalog.setseed(${randomSeed()})`, 'commit'].join('; ')
}

// Returns a double in [-1, 1). Not from Math.random(), because one tenant could compute the next
// tenant's seed from its own.
function randomSeed (): number {
  return randomBytes(6).readUIntBE(0, 6) / 2 ** 47 - 1
}

/*
 * Other languages may keep values in the session; PL/Perl, PL/Python and PL/Tcl do. Their mere
 * presence counts, because a PL/pgSQL function can run a DO block in them. No reset restores
 * settings that a login trigger made.
 */
const text = `
select pg_catalog.json_build_object(
  'extensions', (select pg_catalog.json_agg(pg_catalog.json_build_array(extname, nspname))
    from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
    where extname in ('dblink', 'postgres_fdw')),
  'isImpossible', exists (select from pg_catalog.pg_language
      where lanname not in ('internal', 'c', 'sql', 'plpgsql'))
    or exists (select from pg_catalog.pg_event_trigger
      where evtevent = 'login' and evtenabled <> 'D'))::text as rules`

/** Reads from the catalog which steps a reset needs in this database. */
export async function readResetRules (client: SqlClient): Promise<ResetRules> {
  const { rows: [row] } = await client.query<{ rules: string }>(text)
  // Read as one JSON text, because the pool may parse arrays and booleans differently.
  const { extensions, isImpossible } = JSON.parse(row?.rules ?? '') as FoundRules
  return { extra: (extensions ?? []).map(([name, schema]) => closing(name, quoteName(schema))), isImpossible }
}

interface FoundRules {
  readonly extensions: readonly [name: string, schema: string][] | null
  readonly isImpossible: boolean
}

// An unnamed connection is missing from dblink_get_connections(). Closing it raises 08003 if there
// is none.
function closing (extension: string, schema: string): string {
  if (extension === 'postgres_fdw') return `select ${schema}.postgres_fdw_disconnect_all()`
  return `do $do$ begin
  perform ${schema}.dblink_disconnect(name)
    from pg_catalog.unnest(${schema}.dblink_get_connections()) as name;
  perform ${schema}.dblink_disconnect();
exception when connection_does_not_exist then null; end $do$`
}
