import type { TenantRecord } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { tenantRole } from '@fastify-tenancy/core/keys'
import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'
import { schemaOf, readDependents, refuseDependents } from '@fastify-tenancy/postgres/placement'

import type { ManagerContext } from '../context/context.ts'
import { openManagerPool, withClient } from '../context/shard-pools.ts'
import { readMove } from '../operations/moves.ts'
import type { TenantPlacement } from '../placement/tenant-placement.ts'
import { ended } from '../placement/tenant-server.ts'

/** Objects outside the tenant's own schema that a purge affects. */
interface Outside {
  /** Objects that the drop would also drop: `view public.report`. */
  readonly dependents: readonly string[]
  /**
   * Privileges of the tenant's role on other objects: `table public.report`. They end with the
   * role.
   */
  readonly grants: readonly string[]
  /**
   * Privileges in other databases, because of which PostgreSQL refuses to drop the role: `table
   * public.report in database warehouse`.
   */
  readonly grantsElsewhere: readonly string[]
}

/** Returns the objects outside of a tenant's placements that a purge affects. Read-only. */
export async function readOutside (context: ManagerContext, tenant: TenantRecord): Promise<Outside> {
  const move = await readMove(context.shards.get('default'), tenant.id)
  const placements: readonly TenantPlacement[] = move === undefined ? [tenant] : [move.source, move.target]
  const all: Outside[] = []
  for (const placement of placements) all.push(await outsidePlacement(context, placement))
  const join = (key: keyof Outside): string[] => [...new Set(all.flatMap(outside => outside[key]))]
  return { dependents: join('dependents'), grants: join('grants'), grantsElsewhere: join('grantsElsewhere') }
}

/**
 * Checks that a purge of the tenant drops nothing else and can drop the role.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT with the names of such objects
 */
export async function assertNothingOutside (context: ManagerContext, tenant: TenantRecord): Promise<void> {
  const move = await readMove(context.shards.get('default'), tenant.id)
  for (const placement of move === undefined ? [tenant] : [move.source, move.target])
    await assertPlacementFree(context, placement)
}

/** Checks one placement of a tenant like {@link assertNothingOutside}. */
export async function assertPlacementFree (
  context: ManagerContext,
  placement: TenantPlacement,
  isRoleKept = false
): Promise<void> {
  const { dependents } = await outsidePlacement(context, placement)
  refuseDependents(placement.isolation === 'schema' ? schemaOf(placement) : '', dependents)
  if (placement.isolation !== 'database' && !isRoleKept) await assertRoleDroppable(context, placement)
}

/**
 * Checks that the role of a tenant can be dropped. Changes nothing.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT with the names of objects that prevent it
 */
export async function assertRoleDroppable (
  { shards }: ManagerContext,
  { id, placement: { shard } }: TenantPlacement
): Promise<void> {
  await withClient(shards.get(shard), async client => {
    const role = await roleOf(client, id)
    refuseGrants(await tryDrop(client, role), await readElsewhere(client, shards.ownerUrl(shard), role))
  })
}

function refuseGrants (...grants: readonly (readonly string[])[]): void {
  const all = grants.flat()
  if (all.length > 0)
    throw tenantConflict(
      `the role of the tenant cannot be dropped, because it has privileges on ${
        all.join(', ')
      }: revoke them, then call again`
    )
}

/** Returns the tenant's role in the database of this connection. */
export async function roleOf (client: SqlClient, id: string): Promise<string> {
  const { rows: [row] } = await client.query<{ name: string }>(
    'select pg_catalog.current_database()::text as name'
  )
  return tenantRole(id, row?.name ?? '')
}

// A login can revoke only what its own roles granted. Try it and roll back, because only PostgreSQL
// can tell what remains.
async function tryDrop (client: SqlClient, role: string): Promise<string[]> {
  const { rows: [found] } = await client.query('select from pg_catalog.pg_roles where rolname = $1', [role])
  if (found === undefined) return []
  await client.query('begin')
  try {
    await dropOwned(client, role)
    return (await readShared(client, role, '')).map(({ what }) => what)
  } finally {
    await client.query('rollback')
  }
}

/**
 * Revokes what a role was granted in this database, and drops the objects that it owns. Call it in
 * a transaction, after a check of the latter.
 *
 * ```sql
 * grant "tenant_7f3c_1f3a0c22" to session_user; drop owned by "tenant_7f3c_1f3a0c22"
 * ```
 */
export async function dropOwned (client: SqlClient, role: string): Promise<void> {
  const { rows: [row] } = await client.query<{ member: boolean; options: boolean }>(
    `
    select pg_catalog.pg_has_role(session_user, oid, 'usage') as member,
      pg_catalog.current_setting('server_version_num')::int >= 160000 as options
    from pg_catalog.pg_roles where rolname = $1`,
    [role]
  )
  if (row?.member === false)
    await client.query(
      `grant ${quoteName(role)} to session_user${row.options ? ' with inherit true, set false' : ''}`
    )
  await client.query(`drop owned by ${quoteName(role)}`)
}

async function outsidePlacement ({ shards }: ManagerContext, placement: TenantPlacement): Promise<Outside> {
  const { id, isolation, placement: { shard } } = placement
  if (isolation === 'database') return { dependents: [], grants: [], grantsElsewhere: [] }
  return withClient(shards.get(shard), async client => {
    const role = await roleOf(client, id)
    const schema = isolation === 'schema' ? schemaOf(placement) : ''
    const owned = await readShared(client, role, schema)
    return {
      dependents: [...isolation === 'schema' ? await readDependents(client, schema) : [],
        ...owned.filter(({ isOwner }) => isOwner).map(({ what }) => `${what} of role ${role}`)],
      grants: owned.filter(({ isOwner }) => !isOwner).map(({ what }) => what),
      grantsElsewhere: await readElsewhere(client, shards.ownerUrl(shard), role)
    }
  })
}

interface Shared {
  readonly what: string
  readonly isOwner: boolean
}

// Returns what the role owns or may use in this database. `drop owned by` drops owned objects in
// any schema.
async function readShared (client: SqlClient, role: string, schema: string): Promise<Shared[]> {
  const { rows } = await client.query<Shared>(
    `
    select named.type || ' ' || named.identity as what, d.deptype = 'o' as "isOwner"
    from pg_catalog.pg_shdepend d
    join pg_catalog.pg_roles r on r.oid = d.refobjid
    join pg_catalog.pg_database db on db.oid = d.dbid
    cross join lateral pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) named
    where d.refclassid = 'pg_catalog.pg_authid'::regclass and r.rolname = $1
      and db.datname = pg_catalog.current_database() and d.deptype in ('o', 'a')
      and named.identity is not null and coalesce(named.schema, named.name, '') <> $2
      and d.classid <> 'pg_catalog.pg_default_acl'::regclass
    order by 1`,
    [role, schema]
  )
  return rows
}

// Object names of another database can only be read there.
async function readElsewhere (client: SqlClient, url: string | undefined, role: string): Promise<string[]> {
  const { rows } = await client.query<{ database: string; count: number }>(
    `
    select db.datname::text as database, count(*)::int as count from pg_catalog.pg_shdepend d
    join pg_catalog.pg_roles r on r.oid = d.refobjid join pg_catalog.pg_database db on db.oid = d.dbid
    where d.refclassid = 'pg_catalog.pg_authid'::regclass and r.rolname = $1
      and db.datname <> pg_catalog.current_database()
    group by 1 order by 1`,
    [role]
  )
  const found: string[] = []
  for (const { database, count } of rows) {
    const named = url === undefined ? [] : await namesThere(url, database, role)
    found.push(
      ...named.length > 0
        ? named.map(what => `${what} in database ${database}`)
        : [`${count} objects in database ${database}`]
    )
  }
  return found
}

async function namesThere (url: string, database: string, role: string): Promise<string[]> {
  const there = new URL(url)
  there.pathname = `/${encodeURIComponent(database)}`
  try {
    return await ended(
      openManagerPool(there.href),
      pool => withClient(pool, async client => (await readShared(client, role, '')).map(({ what }) => what))
    )
  } catch {
    // The login may not connect to that database. The message then has only the number of objects.
    return []
  }
}
