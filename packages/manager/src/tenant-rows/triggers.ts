import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'

import type { RowPlacement } from '../placement/tenant-placement.ts'

/** A user-defined trigger. */
export interface UserTrigger {
  readonly table: string
  readonly name: string
}

interface EnabledTrigger extends UserTrigger {
  /** `'O'`, or `'A'` for `enable always`. */
  readonly enabled: string
}

/**
 * Most rows to write while triggers of tenant tables are disabled, because writes of other tenants
 * wait meanwhile.
 */
export const mostQuiet = 20_000

const bits = { insert: 4, delete: 8 } as const

/**
 * Returns the enabled user-defined triggers on tables of a placement that fire on insert or delete.
 */
export async function readTriggers (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly { readonly name: string }[],
  event: keyof typeof bits
): Promise<EnabledTrigger[]> {
  const { rows } = await client.query<EnabledTrigger>(
    `
    select c.relname::text as table, t.tgname::text as name, t.tgenabled::text as enabled
    from pg_catalog.pg_trigger t
    join pg_catalog.pg_class c on c.oid = t.tgrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = any($2) and not t.tgisinternal
      and t.tgenabled in ('O', 'A') and t.tgtype & $3::int <> 0 and t.tgparentid = 0
      and t.tgfoid is distinct from pg_catalog.to_regprocedure('tenancy.record_change()')
    order by 1, 2`,
    [placement.schema, tables.map(({ name }) => name), bits[event]]
  )
  return rows
}

/** Returns `trigger shout on tasks`; undefined for no triggers. */
export function namedTriggers (triggers: readonly UserTrigger[]): string | undefined {
  return triggers.length === 0
    ? undefined
    : triggers.map(({ table, name }) => `trigger ${name} on ${table}`).join(', ')
}

/**
 * Disables, until the end of the transaction, triggers of the target that also exist in the source,
 * such as an audit. They ran there when the rows were inserted, so they must not run for the copy.
 * A trigger that only the target has stays enabled.
 *
 * ```sql
 * alter table "tenant_7f3c"."tasks" disable trigger "audit"
 * ```
 *
 * @param like the source's triggers
 * @returns enables them again; call it after the rows were inserted
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
  // In tenant tables, writes of other tenants queue behind this lock until the commit.
  await client.query(
    `${placement.isShared ? "set local lock_timeout = '500ms'; " : ''}${each(() => 'disable')}`
  )
  return async () => {
    // PostgreSQL refuses to alter a table that has pending deferred checks.
    await client.query(
      `set constraints all immediate; ${each(enabled => enabled === 'A' ? 'enable always' : 'enable')}`
    )
  }
}
