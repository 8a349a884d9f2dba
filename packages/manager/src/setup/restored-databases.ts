import type { TenantRecord } from '@fastify-tenancy/core'
import { inTransaction, quoteName, quoteText, isConnectError, sqlState,
  type SqlClient } from '@fastify-tenancy/postgres/client'
import { ensureLedger, grantGate } from '@fastify-tenancy/postgres/install'
import { grantTenantDatabase } from '@fastify-tenancy/postgres/placement'
import { ensureLogin } from '@fastify-tenancy/postgres/roles'

import type { ManagerContext } from '../context/context.ts'
import { openManagerPool, withClient } from '../context/shard-pools.ts'
import { ended, tenantServer, type TenantServer } from '../placement/tenant-server.ts'

const markOf = ({ id }: TenantRecord): string => `fastify-tenancy: tenant ${id}`

interface DatabaseState {
  readonly name: string
  readonly comment: string | null
  readonly isOpen: boolean
}

/**
 * Returns the state of all databases of the client's server by name: the mark, and whether PUBLIC
 * may connect.
 */
export async function readDatabaseStates (client: SqlClient): Promise<ReadonlyMap<string, DatabaseState>> {
  const { rows } = await client.query<DatabaseState>(`
    select datname::text as name, pg_catalog.shobj_description(oid, 'pg_database') as comment,
      exists (
        select from pg_catalog.aclexplode(coalesce(datacl, pg_catalog.acldefault('d', datdba)))
        where grantee = 0 and privilege_type = 'CONNECT'
      ) as "isOpen"
    from pg_catalog.pg_database`)
  return new Map(rows.map(row => [row.name, row]))
}

/**
 * Whether a tenant's own database needs no repair, or is on another server than the one that was
 * examined.
 */
export async function isWhole (
  context: ManagerContext,
  tenant: TenantRecord,
  states: ReadonlyMap<string, DatabaseState>
): Promise<boolean> {
  const server = await tenantServer(tenant, context)
  if ('pool' in server) return true
  const { ownerUrl } = context.shards.logins('default')
  if (typeof ownerUrl !== 'string' || new URL(ownerUrl).host !== new URL(server.ownerUrl).host) return true
  const state = states.get(server.name)
  return state === undefined || (state.comment === markOf(tenant) && !state.isOpen)
}

/**
 * Repairs a tenant's own database after a restore: marks it, transfers it to the owner's login, and
 * grants CONNECT only to its own login. A dump of one database contains neither its mark nor its
 * CONNECT privileges. The database's ledger, if any, proves which tenant it belongs to.
 *
 * @param adminUrl the login passed to `init`. On the tenant's server, it transfers objects that
 *   were restored without their owner.
 * @returns why the database was not repaired; undefined if it was
 */
export async function repairDatabase (
  context: ManagerContext,
  tenant: TenantRecord,
  adminUrl: string | undefined
): Promise<string | undefined> {
  const server = await tenantServer(tenant, context)
  if ('pool' in server) return undefined
  const { name, ownerUrl } = server
  try {
    return await onDatabase(adminOn(server, adminUrl), async admin => {
      const unproved = await proveOwn(admin, tenant, name)
      if (unproved !== undefined) return unproved
      await inTransaction(admin, () => takeOver(admin, server))
      await onDatabase(
        ownerUrl,
        own => inTransaction(own, () => open(context, own, { server, mark: markOf(tenant) }))
      )
      return undefined
    })
  } catch (error) {
    if (sqlState(error) === undefined && !isConnectError(error)) throw error
    return `database '${name}' of tenant ${tenant.id} was not repaired (${
      error instanceof Error ? error.message : ''
    }): correct that, then run \`tenancy init\` again`
  }
}

function onDatabase<T> (url: string, work: (client: SqlClient) => Promise<T>): Promise<T> {
  return ended(openManagerPool(url), pool => withClient(pool, work))
}

function adminOn ({ ownerUrl, name }: TenantServer, adminUrl: string | undefined): string {
  if (adminUrl === undefined || new URL(adminUrl).host !== new URL(ownerUrl).host) return ownerUrl
  const url = new URL(adminUrl)
  url.pathname = `/${encodeURIComponent(name)}`
  return url.href
}

async function proveOwn (admin: SqlClient, tenant: TenantRecord, name: string): Promise<string | undefined> {
  const mark = markOf(tenant)
  const { rows: [row] } = await admin.query<{ comment: string | null; ledger: boolean }>(`
    select pg_catalog.shobj_description(oid, 'pg_database') as comment,
      pg_catalog.to_regclass('tenancy.migration_ledger') is not null as ledger
    from pg_catalog.pg_database where datname = pg_catalog.current_database()`)
  if (row?.comment === mark) return undefined
  if (row?.comment === null && row.ledger) {
    const { rows } = await admin.query('select from tenancy.migration_ledger where tenant_id = $1 limit 1', [
      tenant.id
    ])
    if (rows.length > 0) return undefined
  }
  return `database '${name}' of tenant ${tenant.id} is not marked as this tenant's, so it was not changed: ` +
    `check to whom it belongs, then run: comment on database ${quoteName(name)} is ${
      quoteText(mark)
    }, and \`tenancy init\` again`
}

// A restore without owners, or `create database`, makes the restoring login the owner. The owner's
// login must be able to create tables and lock the tenant out.
async function takeOver (admin: SqlClient, { login, ownerUrl }: TenantServer): Promise<void> {
  const owner = decodeURIComponent(new URL(ownerUrl).username)
  await ensureLogin(admin, login)
  const { rows } = await admin.query<{ sql: string }>(
    `
    with mine as (
      select oid from pg_catalog.pg_roles where rolname = session_user and rolname <> $1
    ),
    spaces as (
      select oid, nspname, nspowner from pg_catalog.pg_namespace
      where nspname !~ '^pg_' and nspname <> 'information_schema'
    )
    select pg_catalog.format('alter database %I owner to %I', datname, $1::text) as sql
    from pg_catalog.pg_database
    where datname = pg_catalog.current_database() and datdba in (select oid from mine)
    union all
    select pg_catalog.format('alter schema %I owner to %I', nspname, $1::text)
    from spaces
    where nspowner in (select oid from mine) and not exists (
      select from pg_catalog.pg_depend
      where classid = 'pg_catalog.pg_namespace'::regclass and objid = spaces.oid and deptype = 'e')
    union all
    select pg_catalog.format('alter %s %I.%I owner to %I', case c.relkind
      when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
      when 'f' then 'foreign table' else 'table' end, nspname, c.relname, $1::text)
    from spaces join pg_catalog.pg_class c on c.relnamespace = spaces.oid
    where c.relowner in (select oid from mine) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      and not exists (
        select from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid
          and (d.deptype = 'e' or (c.relkind = 'S' and d.deptype in ('a', 'i'))))
    union all
    select pg_catalog.format('alter routine %s owner to %I', p.oid::regprocedure, $1::text)
    from spaces join pg_catalog.pg_proc p on p.pronamespace = spaces.oid
    where p.proowner in (select oid from mine) and not exists (
      select from pg_catalog.pg_depend
      where classid = 'pg_catalog.pg_proc'::regclass and objid = p.oid and deptype = 'e')
    union all
    select pg_catalog.format('alter type %I.%I owner to %I', nspname, t.typname, $1::text)
    from spaces join pg_catalog.pg_type t on t.typnamespace = spaces.oid
    where t.typowner in (select oid from mine)
      and (t.typtype in ('e', 'd', 'r') or (t.typtype = 'c' and exists (
        select from pg_catalog.pg_class where oid = t.typrelid and relkind = 'c')))
      and not exists (
        select from pg_catalog.pg_depend
        where classid = 'pg_catalog.pg_type'::regclass and objid = t.oid and deptype = 'e')`,
    [owner]
  )
  for (const { sql } of rows) await admin.query(sql)
}

interface Opening {
  readonly server: TenantServer
  readonly mark: string
}

async function open (
  { options: { tables } }: ManagerContext,
  own: SqlClient,
  { server: { login: { user }, name }, mark }: Opening
): Promise<void> {
  await own.query(
    `comment on database ${quoteName(name)} is ${quoteText(mark)}; ` +
      `revoke all on database ${quoteName(name)} from public; ` +
      `grant connect on database ${quoteName(name)} to ${quoteName(user)}`
  )
  await grantTenantDatabase(own, tables.schema, user)
  const { rows: [row] } = await own.query<{ there: boolean }>(
    "select pg_catalog.to_regclass('tenancy.migration_ledger') is not null as there"
  )
  if (row?.there !== true) return
  await ensureLedger(own)
  await grantGate(own, user)
}
