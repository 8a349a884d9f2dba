import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'
import { randomBytes } from 'node:crypto'

import type { WireStatement } from './pipelined-batch.ts'

/** What a reset has to do in one database beyond `discard all`. */
export interface ResetRules {
  /** Statements that close connections which extensions keep in the session. */
  readonly extra: readonly string[]
  /** Whether a reset cannot bring a session back to its first state, so that the connection is closed instead. */
  readonly isImpossible: boolean
}

/** The rules of a database without such extensions and languages. */
export const plainReset: ResetRules = { extra: [], isImpossible: false }

/** What the boot says about a database in which {@link ResetRules.isImpossible} holds. */
export const unresettable =
  'a procedural language besides SQL and PL/pgSQL keeps values in the session, or a login trigger makes settings there: a connection that one tenant touched is closed instead of reset before it serves another; drop the language or the trigger if nothing uses it'

/** A statement of the driver's own, without parameters and without a name. */
export function control (text: string): WireStatement {
  return { text, values: [], name: '', isParsed: false, chunk: 0 }
}

/** Must be the first statement of its batch: PostgreSQL refuses it behind any other. */
export const discardAll: WireStatement = control('discard all')
export const discardSequences: WireStatement = control('discard sequences')
/** Goes before a read of the catalog, so that no operator or function of another schema comes first. */
export const catalogPath: WireStatement = control(
  "select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)"
)
export const deallocateAll: WireStatement = control('deallocate all')

/**
 * What `discard all` keeps: the seed of `random()`, and the connections of extensions. `set seed` is half the work of
 * `select setseed()`, and like it outlasts a rollback.
 */
export function afterDiscard ({ extra }: ResetRules): WireStatement[] {
  return [control(`set seed to ${randomSeed()}`), ...extra.map(control)]
}

/**
 * The simple query that undoes what a transaction left on a pooler's backend. It runs in the transaction that
 * `commit and chain` or `rollback and chain` opened. If a part of it fails, that transaction stays open and failed,
 * so the pooler closes the backend when the driver closes its connection.
 *
 * Not `discard all`, which PostgreSQL refuses in a transaction.
 */
export function undoText ({ extra }: ResetRules): string {
  return ['set session authorization default', 'reset role', 'reset all', 'close all', 'unlisten *',
    'deallocate all', 'discard temp', 'discard sequences', 'discard plans', ...extra,
    `select pg_catalog.pg_backend_pid(), pg_catalog.pg_advisory_unlock_all(), pg_catalog.setseed(${randomSeed()})`,
    'commit'].join('; ')
}

// A double in [-1, 1). Not Math.random(): one tenant could compute the seeds of the next from its own.
function randomSeed (): number {
  return randomBytes(6).readUIntBE(0, 6) / 2 ** 47 - 1
}

/*
 * Languages other than these may keep values in the session: PL/Perl, PL/Python and PL/Tcl do. Their functions need not
 * exist: a PL/pgSQL function can run a DO block in them. A login trigger made settings that no reset brings back.
 */
const text = `
select pg_catalog.json_build_object(
  'extensions', (select pg_catalog.json_agg(pg_catalog.json_build_array(extname, nspname))
    from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
    where extname in ('dblink', 'postgres_fdw')),
  'isImpossible', exists (select from pg_catalog.pg_language where lanname not in ('internal', 'c', 'sql', 'plpgsql'))
    or exists (select from pg_catalog.pg_event_trigger where evtevent = 'login' and evtenabled <> 'D'))::text as rules`

/** Reads from the catalog what a reset has to do in this database. */
export async function readResetRules (client: SqlClient): Promise<ResetRules> {
  const { rows: [row] } = await client.query<{ rules: string }>(text)
  // As one text, whatever the pool's type parsers make of arrays and booleans.
  const { extensions, isImpossible } = JSON.parse(row?.rules ?? '') as FoundRules
  return { extra: (extensions ?? []).map(([name, schema]) => closing(name, quoteName(schema))), isImpossible }
}

interface FoundRules {
  readonly extensions: readonly [name: string, schema: string][] | null
  readonly isImpossible: boolean
}

// A connection without a name has no entry in dblink_get_connections(), and closing it raises 08003 if there is none.
function closing (extension: string, schema: string): string {
  if (extension === 'postgres_fdw') return `select ${schema}.postgres_fdw_disconnect_all()`
  return `do $do$ begin
  perform ${schema}.dblink_disconnect(name) from pg_catalog.unnest(${schema}.dblink_get_connections()) as name;
  perform ${schema}.dblink_disconnect();
exception when connection_does_not_exist then null; end $do$`
}
