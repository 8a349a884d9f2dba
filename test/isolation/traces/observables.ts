// What the next tenant can see of its session.
import { sql, type Kysely, type RawBuilder } from 'kysely'

import type { Rows } from '../../support/tenants.ts'

/** The first value of random() after setseed(0.5), by the server's version. */
export type Seeded = string

/**
 * One row: everything that can be asked for without an error. The same on a new connection, for the
 * same tenant.
 */
export const everything: RawBuilder<Record<string, unknown>> = sql`
  select (select count(*)::int from pg_class where relnamespace = pg_my_temp_schema() and relkind = 'r')
    as temporary,
    to_regclass('pg_temp.notes')::text as shadow,
    coalesce(current_setting('app.mark', true), '') as custom,
    current_setting('TimeZone') as zone, '2026-02-03'::date::text as date, show_limit() as trigram,
    current_setting('search_path') as path, current_setting('plan_cache_mode') as plans,
      current_setting('work_mem') as memory,
    current_setting('enable_seqscan') as scans, current_setting('statement_timeout') as timeout,
      current_setting('lock_timeout') as lock_timeout,
    current_setting('default_transaction_read_only') as read_only,
      current_setting('transaction_read_only') as is_read_only,
    current_setting('default_transaction_isolation') as isolation,
      current_setting('transaction_isolation') as is_isolated,
    current_user::text as current_user, session_user::text as session_user, current_setting('role') as role,
    array(select pg_listening_channels()) as channels,
    array(select name from pg_prepared_statements where name not like 't\\_%' or statement like
      '%planted%') as prepared,
    (select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
    array(select name from pg_cursors where is_holdable) as cursors,
    coalesce(dblink_get_connections(), '{}') as links`

/**
 * Connections that dblink keeps without a name are listed nowhere. This fails where there is none.
 */
export const unnamedLink: RawBuilder<unknown> = sql`select dblink_disconnect()`

/** Questions that must fail on a connection whose owner drew nothing. */
export const drawn: readonly RawBuilder<unknown>[] = [sql`select lastval()`, sql`select currval('drawn')`]

/** A draw from `random()`. */
export async function draw (db: Kysely<Rows>): Promise<number | undefined> {
  return (await sql<{ value: number }>`select random() as value`.execute(db)).rows[0]?.value
}
