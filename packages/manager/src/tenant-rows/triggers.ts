import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'

import type { RowPlacement } from '../placement/tenant-placement.ts'

/** A trigger of the user's. */
export interface UserTrigger {
  readonly table: string
  readonly name: string
}

interface EnabledTrigger extends UserTrigger {
  /** `'O'`, or `'A'` for one that is always at work. */
  readonly enabled: string
}

/** How many rows others' writes may wait for, where triggers of shared tables are off. */
export const mostQuiet = 20_000

const bits = { insert: 4, delete: 8 } as const

/** The triggers of the user's that are at work on tables of a home when rows are inserted or deleted. */
export async function readTriggers (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly { readonly name: string }[],
  event: keyof typeof bits
): Promise<EnabledTrigger[]> {
  const { rows } = await client.query<EnabledTrigger>(
    `
    select c.relname::text as table, t.tgname::text as name, t.tgenabled::text as enabled
    from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = any($2) and not t.tgisinternal and t.tgenabled in ('O', 'A') and t.tgtype & $3::int <> 0 and t.tgparentid = 0
      and t.tgfoid is distinct from pg_catalog.to_regprocedure('tenancy.record_change()')
    order by 1, 2`,
    [placement.schema, tables.map(({ name }) => name), bits[event]]
  )
  return rows
}

/** `trigger shout on tasks`; undefined where there is none. */
export function namedTriggers (triggers: readonly UserTrigger[]): string | undefined {
  return triggers.length === 0
    ? undefined
    : triggers.map(({ table, name }) => `trigger ${name} on ${table}`).join(', ')
}

/**
 * Switches off, up to the end of the transaction, what triggers would do to rows that are only copied: the old home has the same triggers, and there
 * they ran when the rows were inserted (an audit, a search column). A trigger that only the new home has runs.
 *
 * ```sql
 * alter table "tenant_7f3c"."tasks" disable trigger "audit"
 * ```
 *
 * @param like the triggers of the old home
 * @returns switches them on again; to be called when the rows are there
 */
export async function quietInserts (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly { readonly name: string }[],
  like: readonly UserTrigger[]
): Promise<() => Promise<void>> {
  const quiet = (await readTriggers(client, placement, tables, 'insert')).filter(({ table, name }) =>
    like.some(other => other.table === table && other.name === name)
  )
  const each = (action: (enabled: string) => string): string =>
    quiet.map(({ table, name, enabled }) =>
      `alter table ${quoteName(placement.schema)}.${quoteName(table)} ${action(enabled)} trigger ${
        quoteName(name)
      }`
    ).join('; ')
  if (quiet.length === 0) return async () => {}
  // In shared tables, others' writes queue behind this up to the commit.
  await client.query(
    `${placement.isShared ? "set local lock_timeout = '500ms'; " : ''}${each(() => 'disable')}`
  )
  return async () => {
    // A table with checks that are still to come cannot be altered.
    await client.query(
      `set constraints all immediate; ${each(enabled => enabled === 'A' ? 'enable always' : 'enable')}`
    )
  }
}
