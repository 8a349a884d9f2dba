import { roleName } from '@fastify-tenancy/core/keys'

import { quoteName, sqlState, type SqlClient } from '../client/sql-client.ts'
import { withRoles, type Roles, type SessionInfo } from '../roles/roles.ts'
import { sqlFiles } from './sql.generated.ts'

/** The roles of another database that a restored, copied or renamed database still refers to. */
interface Found {
  /** The owner of schema `tenancy`; null if nothing was set up yet. */
  readonly owner: string | null
  /** Whether the group roles have their privileges in schema `tenancy`. */
  readonly granted: boolean
  /** Group roles and tenant roles of another database that own objects or have privileges here. */
  readonly foreign: readonly string[]
}

/**
 * Whether a database was restored from a dump, copied or renamed. Then its schema `tenancy` has
 * another owner than the set-up gives it, privileges are missing, or another database's roles have
 * privileges here.
 *
 * @param database the current name of the database
 */
export async function isRestored (client: SqlClient, database: string): Promise<boolean> {
  const { owner, granted, foreign } = await look(client, database)
  return owner !== null && (owner !== roleName('owner', database) || !granted || foreign.length > 0)
}

async function look (client: SqlClient, database: string): Promise<Found> {
  const suffix = roleName('owner', database).slice(-8)
  const { rows: [row] } = await client.query<Found>(
    `
    select (select pg_catalog.pg_get_userbyid(nspowner)::text from pg_catalog.pg_namespace
      where nspname = 'tenancy' and pg_catalog.to_regclass('tenancy.migrations') is not null) as owner,
      exists (select from pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
        join pg_catalog.pg_roles r on r.oid = a.grantee
        where n.nspname = 'tenancy' and r.rolname = $2) as granted,
      array(select distinct r.rolname::text from pg_catalog.pg_shdepend d
        join pg_catalog.pg_roles r on r.oid = d.refobjid
        where d.refclassid = 'pg_catalog.pg_authid'::regclass
          and d.dbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
          and (r.rolname ~ '^tenancy_(owner|app|shared|global|system|registry)_[0-9a-f]{8}$'
            or r.rolname ~ '^tenanth?_.+_[0-9a-f]{8}$')
          and r.rolname not like '%\\_' || $1 order by 1) as foreign`,
    [suffix, roleName('registry', database)]
  )
  return row ?? { owner: null, granted: false, foreign: [] }
}

/**
 * Gives a restored, copied or renamed database's objects to this database's own roles: ownership,
 * and the privileges on schema `tenancy`. Revokes the privileges of the other database's roles,
 * but keeps those roles, because that database may use them. Does nothing if there is nothing to
 * repair.
 *
 * ```sql
 * reassign owned by "tenancy_owner_0e7f33a1" to "tenancy_owner_1f3a0c22";
 * revoke all on "public"."projects" from "tenancy_app_0e7f33a1"
 * ```
 *
 * @param client in the transaction of the set-up, after it created the roles
 * @returns one sentence for each repair
 */
export async function rebind (
  client: SqlClient,
  { database, superuser }: SessionInfo,
  roles: Roles
): Promise<readonly string[]> {
  const { owner, granted, foreign } = await look(client, database)
  if (owner === null || (owner === roles.owner && granted && foreign.length === 0)) return []
  const done: string[] = []
  for (const old of foreign.filter(name => name.startsWith('tenancy_owner_'))) {
    if (!superuser) await client.query(`grant ${quoteName(old)} to session_user`)
    await client.query(`reassign owned by ${quoteName(old)} to ${quoteName(roles.owner)}`)
    done.push(`what role ${old} owned in this database belongs to ${roles.owner} now`)
  }
  const taken = await takeObjects(client, roles.owner)
  if (taken > 0)
    done.push(
      `${taken} objects of schema tenancy and of tenants' schemas, restored without their owner, ` +
        `belong to ${roles.owner} now`
    )
  await grantAgain(client, roles)
  done.push('the roles of this database have their privileges on schema tenancy again')
  const revoked = await revokeForeign(client, foreign)
  if (revoked > 0)
    done.push(
      `privileges on ${revoked} objects were taken from roles of another database (${
        foreign.join(', ')
      }); those roles stay: drop them when no other database of this server uses them`
    )
  return done
}

// For schema `tenancy` and tenants' schemas, which a restore without owners gave to the restoring
// role.
async function takeObjects (client: SqlClient, owner: string): Promise<number> {
  const { rows } = await client.query<{ sql: string }>(
    `
    with mine as (
      select oid, nspname, nspowner from pg_catalog.pg_namespace n
      where nspname = 'tenancy'
        or coalesce(pg_catalog.obj_description(oid, 'pg_namespace'), '') like 'fastify-tenancy: tenant %'
    ),
    wanted as (select oid from pg_catalog.pg_roles where rolname = $1)
    select pg_catalog.format('alter schema %I owner to %I', nspname, $1::text) as sql from mine
      where nspowner not in (select oid from wanted)
    union all
    select pg_catalog.format('alter %s %I.%I owner to %I', case c.relkind when 'v' then 'view'
      when 'm' then 'materialized view' when 'S' then 'sequence' when 'f' then 'foreign table'
      else 'table' end, mine.nspname, c.relname, $1::text)
    from mine join pg_catalog.pg_class c on c.relnamespace = mine.oid
    where c.relowner not in (select oid from wanted) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      and not (c.relkind = 'S' and exists (select from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')))
    union all
    select pg_catalog.format('alter routine %s owner to %I', p.oid::regprocedure, $1::text) from mine
      join pg_catalog.pg_proc p on p.pronamespace = mine.oid where p.proowner not in (select oid from wanted)
    union all
    select pg_catalog.format('alter type %I.%I owner to %I', mine.nspname, t.typname, $1::text)
      from mine join pg_catalog.pg_type t on t.typnamespace = mine.oid
    where t.typowner not in (select oid from wanted) and t.typtype in ('e', 'd', 'r') and t.typelem = 0
    union all
    select pg_catalog.format('alter operator %s owner to %I', o.oid::regoperator, $1::text) from mine
      join pg_catalog.pg_operator o on o.oprnamespace = mine.oid
      where o.oprowner not in (select oid from wanted)`,
    [owner]
  )
  for (const { sql } of rows) await client.query(sql)
  return rows.length
}

// Repeats the grants of the applied SQL files in order. A grant on an object that a later file
// replaced fails and is skipped.
async function grantAgain (client: SqlClient, roles: Roles): Promise<void> {
  const { rows: applied } = await client.query<{ version: number }>('select version from tenancy.migrations')
  const versions = new Set(applied.map(({ version }) => version))
  for (const { version, sql } of sqlFiles) {
    if (!versions.has(version)) continue
    for (const [text] of sql.matchAll(/^(?:grant|revoke)\s[^;]*;/gm)) {
      await client.query('savepoint grant_again')
      try {
        await client.query(withRoles(text, roles))
      } catch (error) {
        // undefined_function, undefined_table, undefined_column
        if (!['42883', '42P01', '42703'].includes(sqlState(error) ?? '')) throw error
        await client.query('rollback to grant_again')
      }
    }
  }
}

// Not `drop owned`, which would also revoke these roles' privileges on their own databases.
async function revokeForeign (client: SqlClient, foreign: readonly string[]): Promise<number> {
  const { rows } = await client.query<{ sql: string }>(
    `
    select case d.classid
      when 'pg_catalog.pg_class'::regclass
        then (select pg_catalog.format('revoke all on %s %I.%I from %I', case c.relkind
        when 'S' then 'sequence' else 'table' end, n.nspname, c.relname, r.rolname)
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where c.oid = d.objid)
      when 'pg_catalog.pg_proc'::regclass then pg_catalog.format('revoke all on routine %s from %I',
        d.objid::regprocedure, r.rolname)
      when 'pg_catalog.pg_namespace'::regclass
        then (select pg_catalog.format('revoke all on schema %I from %I', nspname, r.rolname)
        from pg_catalog.pg_namespace where oid = d.objid)
      when 'pg_catalog.pg_type'::regclass then pg_catalog.format('revoke all on type %s from %I',
        d.objid::regtype, r.rolname)
      when 'pg_catalog.pg_default_acl'::regclass
        then (select pg_catalog.format('alter default privileges for role %I%s revoke all on %s from %I',
          pg_catalog.pg_get_userbyid(a.defaclrole),
          case when a.defaclnamespace <> 0 then pg_catalog.format(' in schema %I', (select nspname
            from pg_catalog.pg_namespace where oid = a.defaclnamespace)) else '' end,
          case a.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences'
            when 'f' then 'functions' when 'T' then 'types' else 'schemas' end, r.rolname)
        from pg_catalog.pg_default_acl a where a.oid = d.objid) end as sql
    from pg_catalog.pg_shdepend d join pg_catalog.pg_roles r on r.oid = d.refobjid
    where d.refclassid = 'pg_catalog.pg_authid'::regclass and d.deptype = 'a' and r.rolname = any($1)
      and d.dbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())`,
    [[...foreign]]
  )
  const texts = [...new Set(rows.flatMap(({ sql }) => sql ?? []))]
  for (const text of texts) await client.query(text)
  return texts.length
}
