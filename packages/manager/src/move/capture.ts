import type { Tenant } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { inTransaction, quoteName, quoteText, sqlState,
  type SqlClient } from '@fastify-tenancy/postgres/client'
import { ensureMoveLog } from '@fastify-tenancy/postgres/install'
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import type { ManagerContext } from '../context/context.ts'
import { LockRetry } from '../context/lock-retry.ts'
import { withClient } from '../context/shard-pools.ts'
import { assertNonePrepared } from '../lockouts/lockout.ts'
import { withPlacement, type RowPlacement, type TenantPlacement } from '../placement/tenant-placement.ts'
import { hasServer } from '../placement/tenant-server.ts'
import { inTransactionOn } from '../tenant-rows/session.ts'
import { readTables, rowsOf, type TransferTable } from '../tenant-rows/tables.ts'
import { keyOf } from './stage.ts'

/**
 * Longest wait of one attempt for a table's lock, in milliseconds. Writers queue behind the
 * attempt.
 */
const lockTimeout = 500

/**
 * Longest wait to drop a trigger, in milliseconds. Shorter, because readers of all tenants queue
 * behind this lock. Also the first and longest delay between attempts.
 */
const goingTimeout = 50
const rest = { first: 250, longest: 5_000 }

const events = ['insert', 'update', 'delete', 'truncate'] as const

/**
 * Whether the source can be written while it is copied. Strategy `database` without a login that
 * the manager can lock out moves only while suspended and not served.
 */
export async function isServed (context: ManagerContext, source: TenantPlacement): Promise<boolean> {
  return source.isolation !== 'database' || hasServer(source as Tenant, context)
}

/**
 * Creates the triggers that record in `tenancy.move_changes` which rows of the tenant change.
 * Idempotent.
 *
 * Creating a trigger locks the table against writers. Once the trigger exists, every transaction
 * that wrote to the table before has ended. So a snapshot taken afterwards sees those writes.
 *
 * ```sql
 * create or replace trigger tenancy_move_1f3a0c22_update after update on "public"."notes" for each row
 * when (old."tenant_id" = '7f3c…'::text or new."tenant_id" = '7f3c…'::text)
 * execute function tenancy.record_change('7f3c…', 'notes', 'id');
 * alter table "public"."notes" enable always trigger tenancy_move_1f3a0c22_update
 * ```
 *
 * @throws FST_TENANCY_TENANT_CONFLICT if a table's lock was not granted in time
 */
export async function addCaptureTriggers (context: ManagerContext, source: TenantPlacement): Promise<void> {
  if (!await isServed(context, source)) return
  const { tables: listed } = context.options
  await withPlacement(context, source, async placement => {
    const tables = await inTransactionOn(
      placement,
      { shared: listed.schema, isSnapshot: true },
      client => readTables(client, placement, listed)
    )
    await withClient(placement.pool, async client => {
      if (source.isolation === 'database') {
        // A prepared transaction holds locks that the triggers need until it is committed or rolled
        // back.
        const { rows: [database] } = await client.query<{ name: string }>(
          'select pg_catalog.current_database()::text as name'
        )
        await assertNonePrepared(client, { name: database?.name ?? '' })
        await inTransaction(client, () => ensureMoveLog(client))
      }
      // Rows left by a move that was interrupted before it copied.
      await client.query('delete from tenancy.move_changes where tenant_id = $1', [source.id])
      for (const table of tables)
        await locked(context, client, table.name, triggersOn(placement, tables, table))
    })
  })
}

/** Removes the triggers of {@link addCaptureTriggers} and the changes they recorded. Idempotent. */
export async function removeCaptureTriggers (
  context: ManagerContext,
  source: TenantPlacement
): Promise<void> {
  if (!await isServed(context, source)) return
  await withPlacement(context, source, placement =>
    withClient(placement.pool, async client => {
      const { rows } = await client.query<{ table: string; name: string }>(
        `
      select c.relname::text as table, t.tgname::text as name
      from pg_catalog.pg_trigger t
      join pg_catalog.pg_class c on c.oid = t.tgrelid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where n.nspname = $1 and t.tgname = any($2) and t.tgparentid = 0 order by 1`,
        [placement.schema, namesOf(placement.tenant)]
      )
      for (const table of new Set(rows.map(row => row.table))) {
        const drops = rows.filter(row => row.table === table).map(({ name }) =>
          `drop trigger if exists ${quoteName(name)} on ${quoteName(placement.schema)}.${quoteName(table)}`
        )
        await dropped(context, client, table, drops)
      }
      const { rows: [log] } = await client.query<{ there: boolean }>(
        "select pg_catalog.to_regclass('tenancy.move_changes') is not null as there"
      )
      if (log?.there === true)
        await client.query('delete from tenancy.move_changes where tenant_id = $1', [placement.tenant])
    }))
}

/**
 * Whether the triggers record every change of these tables: each trigger exists, is enabled and
 * records the columns of the current primary key.
 */
export async function isCaptured (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly TransferTable[]
): Promise<boolean> {
  const { rows: [row] } = await client.query<{ count: number }>(
    `
    select count(*)::int as count
    from pg_catalog.pg_trigger t
    join pg_catalog.pg_class c on c.oid = t.tgrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.json_to_recordset($2::json) e (name text, args json) on e.name = c.relname
    where n.nspname = $1 and t.tgname = any($3) and t.tgenabled = 'A' and t.tgargs = (
      select string_agg(
        pg_catalog.convert_to(arg, pg_catalog.getdatabaseencoding()) || '\\x00'::bytea, ''::bytea
        order by place
      )
      from pg_catalog.json_array_elements_text(e.args) with ordinality u (arg, place))`,
    [placement.schema,
      JSON.stringify(tables.map(table => ({ name: table.name, args: argumentsOf(placement, table) }))),
      namesOf(placement.tenant)]
  )
  return row?.count === tables.length * events.length
}

// Creates all triggers of a table or none. Each attempt waits for at most `lockTimeout`.
async function locked (
  context: ManagerContext,
  client: SqlClient,
  table: string,
  statements: readonly string[]
): Promise<void> {
  const { waitTimeout } = context.options
  const lockRetry = new LockRetry(client, { lockTimeout, lockWaitBudget: waitTimeout, onWait: () => {} })
  await lockRetry.attempt(table, () => attempt(client, lockTimeout, statements)).catch(
    async (error: unknown) => {
      if (!(error instanceof SetupInvalidError)) throw error
      throw await notHad(client, table, waitTimeout)
    }
  )
}

async function dropped (
  context: ManagerContext,
  client: SqlClient,
  table: string,
  statements: readonly string[]
): Promise<void> {
  const { waitTimeout } = context.options
  const deadline = Date.now() + waitTimeout
  for (let pause = rest.first;; pause = Math.min(pause * 2, rest.longest)) {
    try {
      return await attempt(client, goingTimeout, statements)
    } catch (error) {
      // lock_not_available, deadlock_detected
      if (!['55P03', '40P01'].includes(sqlState(error) ?? '')) throw error
    }
    const left = deadline - Date.now()
    if (left <= 0) throw await notHad(client, table, waitTimeout)
    await sleep(Math.min(pause * (0.5 + Math.random() / 2), left))
  }
}

async function attempt (client: SqlClient, timeout: number, statements: readonly string[]): Promise<void> {
  await inTransaction(client, async () => {
    await client.query(`set local lock_timeout = '${timeout}ms'; ${statements.join('; ')}`)
  })
}

async function notHad (client: SqlClient, table: string, wait: number): Promise<Error> {
  const { rows: prepared } = await client.query<{ gid: string }>(
    'select gid from pg_catalog.pg_prepared_xacts where database = pg_catalog.current_database() order by 1'
  )
  const what = prepared.length === 0
    ? 'end the transactions that hold it (select * from pg_stat_activity)'
    : `the prepared ${
      prepared.map(({ gid }) => `'${gid}'`).join(', ')
    } may hold it: commit prepared or rollback prepared`
  return tenantConflict(
    `cannot lock table '${table}' for the triggers of a move: it stayed locked for ${
      wait / 1000
    } s: ${what}, then call again`
  )
}

function triggersOn (
  placement: RowPlacement,
  tables: readonly TransferTable[],
  table: TransferTable
): string[] {
  const { name, tenantColumn } = table
  const mine = (row: 'old' | 'new'): string => rowsOf(placement, tables, table, row)
  // Without a tenant column, a row does not show which tenant owns it. So the keys of all tenants'
  // changes are recorded, and the tenant's rows are looked up by these keys.
  const isTold = placement.isShared && tenantColumn !== undefined
  const when = { insert: mine('new'), update: `${mine('old')} or ${mine('new')}`, delete: mine('old') }
  const call = `execute function tenancy.record_change(${
    argumentsOf(placement, table).map(quoteText).join(', ')
  })`
  return events.flatMap((event, index) => {
    const trigger = quoteName(namesOf(placement.tenant)[index] ?? '')
    const on = `${quoteName(placement.schema)}.${quoteName(name)}`
    const each = event === 'truncate'
      ? 'for each statement'
      : `for each row${isTold ? ` when (${when[event]})` : ''}`
    // `enable always`, so that the trigger also fires for replicated writes and for
    // `session_replication_role = 'replica'`.
    return [`create or replace trigger ${trigger} after ${event} on ${on} ${each} ${call}`,
      `alter table ${on} enable always trigger ${trigger}`]
  })
}

function argumentsOf ({ tenant }: RowPlacement, table: TransferTable): string[] {
  return [tenant, table.name, ...keyOf(table).map(({ name }) => name)]
}

// The tenant is part of the name, because two tenants may be moved out of the same tables at once.
function namesOf (tenant: string): string[] {
  const hash = createHash('sha256').update(tenant).digest('hex').slice(0, 16)
  return events.map(event => `tenancy_move_${hash}_${event}`)
}
