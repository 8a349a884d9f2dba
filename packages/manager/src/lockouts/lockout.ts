import type { Tenant } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { quoteName, sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { setTimeout as sleep } from 'node:timers/promises'

import type { ManagerContext } from '../context/context.ts'
import { openManagerPool, withClient } from '../context/shard-pools.ts'
import { ended, hasServer, tenantServer, type TenantServer } from '../placement/tenant-server.ts'

/** Why a tenant is locked out of its rows. */
type LockoutReason = 'suspended' | 'moving' | 'moved' | 'deleting'

/**
 * The tenant and the placement that a lockout applies to. A tenant that is being moved has two
 * placements.
 */
type LockoutTarget = Pick<Tenant, 'id' | 'isolation' | 'placement'>

/**
 * Locks a tenant out of its rows, in the database that holds them. After it resolves, every new
 * statement fails, whatever a process has cached. Transactions that began before may still run: see
 * {@link waitForOlder}.
 *
 * ```sql
 * insert into tenancy.lockouts (tenant, placement, reason) values (sha256('7f3c…'), 'shared', 'suspended')
 * -- and for a database of the tenant's own
 * revoke connect on database "tenant_7f3c" from public, "tenant_7f3c"; select pg_terminate_backend(…)
 * ```
 */
export async function lockOut (
  context: ManagerContext,
  tenant: LockoutTarget,
  reason: LockoutReason
): Promise<void> {
  if (tenant.isolation === 'database')
    return onServer(context, tenant, async (client, server) => {
      await lockDatabase(client, server)
      if (reason === 'moving') await assertNonePrepared(client, server)
    })
  await change(
    context,
    tenant,
    `
    insert into tenancy.lockouts (tenant, placement, reason) values (${hash}, $2, $3)
    on conflict (tenant, placement) do update set reason = excluded.reason, created_at = now()`,
    [tenant.id, placementOf(tenant), reason]
  )
}

/** Removes a tenant's lockout. */
export async function liftLockout (context: ManagerContext, tenant: LockoutTarget): Promise<void> {
  if (tenant.isolation === 'database') return onServer(context, tenant, unlockDatabase)
  await change(context, tenant, `delete from tenancy.lockouts where tenant = ${hash} and placement = $2`, [
    tenant.id,
    placementOf(tenant)
  ])
}

// All lockouts share one version row, so a concurrent change waits for it. Under repeatable read or
// serializable as the default isolation level, the second one then fails and is retried. Each
// attempt is its own transaction.
async function change (
  { shards }: ManagerContext,
  { placement: { shard } }: LockoutTarget,
  text: string,
  values: readonly string[]
): Promise<void> {
  for (let attempt = 1;; attempt++) {
    try {
      await shards.get(shard).query(text, [...values])
      return
    } catch (error) {
      if (attempt === 10 || !isPassing(error)) throw error
      await sleep(50 * attempt * (0.5 + Math.random() / 2))
    }
  }
}

function isPassing (error: unknown): boolean {
  const state = sqlState(error)
  return state === '40001' || state === '40P01' ||
    (state === 'XX000' && error instanceof Error && error.message === 'tuple concurrently updated')
}

const hash = "pg_catalog.sha256(pg_catalog.convert_to($1, 'UTF8'))"

function placementOf ({ isolation }: LockoutTarget): 'shared' | 'schema' {
  return isolation === 'schema' ? 'schema' : 'shared'
}

const running = `
  select l.virtualxid as id from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
  where l.locktype = 'virtualxid' and l.virtualxid = l.virtualtransaction
    and a.pid <> pg_catalog.pg_backend_pid()
    and a.datname = pg_catalog.current_database() and a.usesysid is not null`

// A prepared transaction belongs to no session and survives restarts.
const prepared = 'select gid as id from pg_catalog.pg_prepared_xacts where database = '

/**
 * Resolves when every transaction that now runs in the client's database has ended. A transaction
 * that passed the lockout check before the lockout existed has then finished. Call it after the
 * lockout is committed.
 *
 * @param timeout in milliseconds
 * @throws FST_TENANCY_TENANT_CONFLICT with the number of running transactions and the ids of
 *   prepared ones
 */
export async function waitForOlder (
  client: SqlClient,
  { timeout }: { readonly timeout: number }
): Promise<void> {
  const deadline = Date.now() + timeout
  const ids = async (text: string, values?: unknown[]): Promise<string[]> =>
    (await client.query<{ id: string }>(text, values)).rows.map(({ id }) => id)
  // Read after the running transactions. A transaction that is prepared between the two reads is
  // then seen twice instead of missed.
  const preparedNow = (): Promise<string[]> => ids(`${prepared}pg_catalog.current_database()`)
  let older = await ids(running)
  let gids = await preparedNow()
  for (let pause = 5; older.length + gids.length > 0; pause = Math.min(pause * 2, 200)) {
    if (Date.now() > deadline) throw tenantConflict(stillThere(older, gids, timeout))
    await sleep(pause)
    const known = new Set(gids)
    // While an older transaction runs, a newly prepared one may be that older one.
    const mayBeOlder = older.length > 0
    if (mayBeOlder) older = await ids(`${running} and l.virtualxid = any($1)`, [older])
    gids = (await preparedNow()).filter(gid => mayBeOlder || known.has(gid))
  }
}

function stillThere (older: readonly string[], gids: readonly string[], timeout: number): string {
  const since = `of the tenant's database began before it was locked and`
  if (gids.length > 0)
    return `${plural(gids, 'prepared transaction')} ${gids.map(gid => `'${gid}'`).join(', ')} ${since} ${
      gids.length === 1 ? 'is' : 'are'
    } not decided after ${timeout / 1000} s: commit prepared or rollback prepared, then call again`
  return `${older.length === 1 ? 'a transaction' : `${older.length} transactions`} ${since} still run after ${
    timeout / 1000
  } s: end them (select * from pg_stat_activity), then call again`
}

function plural (things: readonly string[], name: string): string {
  return things.length === 1 ? `the ${name}` : `${things.length} ${name}s`
}

async function onServer (
  context: ManagerContext,
  tenant: LockoutTarget,
  work: (client: SqlClient, server: TenantServer) => Promise<void>
): Promise<void> {
  // An embedded database belongs to this process, and a pool from the application's function to its
  // author. Neither has a login that the manager can lock out.
  if (!await hasServer(tenant as Tenant, context)) return
  const server = await tenantServer(tenant as Tenant, context)
  if ('pool' in server) return
  await ended(openManagerPool(server.serverUrl), pool => withClient(pool, client => work(client, server)))
}

// Revokes CONNECT from the tenant's login and ends its sessions. The owner's login can still
// connect, for an export. A superuser cannot be locked out.
async function lockDatabase (client: SqlClient, { name, login }: TenantServer): Promise<void> {
  const { rows: [database] } = await client.query('select from pg_catalog.pg_database where datname = $1', [
    name
  ])
  if (database === undefined) return
  await client.query(`revoke connect on database ${quoteName(name)} from public, ${quoteName(login.user)}`)
  await endSessions(client, name, login.user)
}

/**
 * Refuses a database with a prepared transaction. It could be committed into the source after its
 * rows were copied.
 */
export async function assertNonePrepared (
  client: SqlClient,
  { name }: Pick<TenantServer, 'name'>
): Promise<void> {
  const { rows: [found] } = await client.query<{ id: string }>(`${prepared}$1 limit 1`, [name])
  if (found !== undefined)
    throw tenantConflict(
      `the prepared transaction '${found.id}' of the tenant's database is not decided: ` +
        'commit prepared or rollback prepared, then call again'
    )
}

async function unlockDatabase (client: SqlClient, { name, login }: TenantServer): Promise<void> {
  await client.query(`grant connect on database ${quoteName(name)} to ${quoteName(login.user)}`)
}

/** Ends every session of a login in a database. */
export async function endSessions (client: SqlClient, database: string, user: string): Promise<void> {
  const deadline = Date.now() + longestEnd
  for (let pause = 5;; pause = Math.min(pause * 2, 200)) {
    // Each check runs in its own transaction, because PostgreSQL keeps the first view of
    // `pg_stat_activity` for a whole transaction.
    const count = await asMember(client, user, async () =>
      (await client.query(
        `
      select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
      where datname = $1 and usename = $2 and pid <> pg_catalog.pg_backend_pid()`,
        [database, user]
      )).rows.length)
    if (count === 0) return
    if (Date.now() > deadline)
      throw tenantConflict(`${count} sessions of the tenant's database do not end: end them, then call again`)
    await sleep(pause)
  }
}

/** How long sessions may take to end, in milliseconds. */
const longestEnd = 30_000

// Ending a session needs the privileges of its role. A role that created the login may grant it to
// itself, and the rollback revokes it again.
async function asMember<T> (client: SqlClient, user: string, work: () => Promise<T>): Promise<T> {
  const { rows: [row] } = await client.query<{ member: boolean; options: boolean }>(
    `
    select pg_catalog.pg_has_role(session_user, oid, 'usage') as member,
      pg_catalog.current_setting('server_version_num')::int >= 160000 as options
    from pg_catalog.pg_roles where rolname = $1`,
    [user]
  )
  if (row === undefined || row.member) return work()
  await client.query('begin')
  try {
    await client.query(
      `grant ${quoteName(user)} to session_user${row.options ? ' with inherit true, set false' : ''}`
    )
    return await work()
  } finally {
    await client.query('rollback')
  }
}
