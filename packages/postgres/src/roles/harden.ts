import { quoteName, type SqlClient } from '../client/sql-client.ts'
import type { Logins } from './logins.ts'
import type { Roles, SessionInfo } from './roles.ts'

/*
 * Functions that PostgreSQL lets PUBLIC call and that no tenant's statement needs, by name, in all
 * signatures. set_config changes the settings that hold the context.
 */
const settings: readonly string[] = ['set_config']
/** Signals to other sessions. */
export const signals: readonly string[] = ['pg_cancel_backend', 'pg_terminate_backend']
/** Any session may notify the channel that announces changes of tenants. */
const notices: readonly string[] = ['pg_notify']
/**
 * Functions that run a text or read a table by name, which a reader of the statement cannot see.
 */
export const texts: readonly string[] = ['query_to_xml', 'query_to_xmlschema', 'query_to_xml_and_xmlschema',
  'cursor_to_xml', 'cursor_to_xmlschema', 'table_to_xml', 'table_to_xmlschema', 'table_to_xml_and_xmlschema',
  'schema_to_xml', 'schema_to_xmlschema', 'schema_to_xml_and_xmlschema', 'database_to_xml',
  'database_to_xmlschema', 'database_to_xml_and_xmlschema', 'ts_stat', 'ts_rewrite']
/** Large objects: no policy covers them, so the statements of all tenants would share them. */
export const largeObjects: readonly string[] = ['lo_creat', 'lo_create', 'lo_from_bytea', 'lo_get', 'lo_put',
  'lo_open', 'lo_close', 'lo_lseek', 'lo_lseek64', 'lo_tell', 'lo_tell64', 'lo_truncate', 'lo_truncate64',
  'lo_unlink', 'loread', 'lowrite']

/**
 * Statements of other sessions, and prepared statements: a login's sessions serve all its tenants.
 */
export const statements: readonly string[] = ['pg_stat_get_activity', 'pg_stat_get_backend_activity',
  'pg_prepared_statement', 'pg_cursor']
/** Numbers of rows, changes and bytes of a table, which count all tenants together. */
export const counts: readonly string[] = ['pg_relation_size', 'pg_table_size', 'pg_indexes_size',
  'pg_total_relation_size', 'pg_stat_get_live_tuples', 'pg_stat_get_dead_tuples',
  'pg_stat_get_tuples_returned', 'pg_stat_get_tuples_fetched', 'pg_stat_get_tuples_inserted',
  'pg_stat_get_tuples_updated', 'pg_stat_get_tuples_deleted', 'pg_stat_get_tuples_hot_updated',
  'pg_stat_get_tuples_newpage_updated', 'pg_stat_get_mod_since_analyze', 'pg_stat_get_ins_since_vacuum',
  'pg_stat_get_numscans', 'pg_stat_get_blocks_fetched', 'pg_stat_get_blocks_hit']

interface Callable {
  /** `pg_catalog.set_config(text,text,boolean)` */
  readonly name: string
  /** `set_config` */
  readonly base: string
  readonly isPublic: boolean
  /** Whether this session may revoke it. */
  readonly isOurs: boolean
}

/**
 * Revokes from PUBLIC what no tenant's statement needs, as far as this login may. Idempotent.
 *
 * ```sql
 * revoke create on schema public from public;
 * revoke temporary on database "app" from public;
 * revoke execute on function pg_catalog.set_config(text,text,boolean), … from public;
 * ```
 *
 * @returns a sentence for each privilege that this login may not revoke.
 */
export async function harden (
  client: SqlClient,
  session: SessionInfo,
  roles: Roles,
  logins: Logins
): Promise<readonly string[]> {
  const database = quoteName(session.database)
  const { rows: [open] } = await client.query<
    { ownsSchema: boolean; ownsDatabase: boolean; creates: boolean; temporary: boolean }
  >(`
    select pg_catalog.pg_has_role(session_user, n.nspowner, 'USAGE') as "ownsSchema",
      pg_catalog.pg_has_role(session_user, d.datdba, 'USAGE') as "ownsDatabase",
      exists (select from pg_catalog.aclexplode(coalesce(n.nspacl,
        pg_catalog.acldefault('n', n.nspowner))) where grantee = 0 and privilege_type = 'CREATE') as creates,
      exists (select from pg_catalog.aclexplode(coalesce(d.datacl,
        pg_catalog.acldefault('d', d.datdba)))
        where grantee = 0 and privilege_type = 'TEMPORARY') as temporary
    from pg_catalog.pg_database d left join pg_catalog.pg_namespace n on n.nspname = 'public'
    where d.datname = pg_catalog.current_database()`)
  const left: string[] = []
  if (open?.creates) {
    if (open.ownsSchema) await client.query('revoke create on schema public from public')
    else left.push(
        'PUBLIC may create tables in the schema public: ' +
          'its owner can run `revoke create on schema public from public`'
      )
  }
  if (open?.temporary) {
    if (open.ownsDatabase)
      await client.query(
        `revoke temporary on database ${database} from public; ` +
          `grant temporary on database ${database} to ${quoteName(roles.owner)}`
      )
    else left.push(
        "PUBLIC may create temporary tables: the database's owner can run " +
          `\`revoke temporary on database ${database} from public\``
      )
  }
  const callable =
    (await findFunctions(client, [...settings, ...signals, ...notices, ...texts, ...largeObjects,
      ...statements, ...counts])).filter(({ isPublic }) => isPublic)
  const [ours, theirs] = [callable.filter(({ isOurs }) => isOurs), callable.filter(({ isOurs }) => !isOurs)]
  if (ours.length > 0)
    await client.query(`revoke execute on function ${ours.map(({ name }) => name).join(', ')} from public`)
  if (theirs.length > 0) {
    // Grant our own roles first. Between revoke and grant, statements could not read their context.
    const grants = theirs.flatMap(({ name, base }) => {
      const holders = holdersOf(base, roles, logins)
      return holders.length === 0
        ? []
        : `grant execute on function ${name} to ${holders.map(quoteName).join(', ')}; `
    })
    left.push(
      'PUBLIC may call set_config, query_to_xml, pg_cancel_backend, pg_notify, lo_create, ' +
        'pg_stat_get_activity, pg_relation_size and similar functions: only a superuser can run ' +
        `\`${grants.join('')}revoke execute on function ${
          theirs.map(({ name }) => name).join(', ')
        } from public\``
    )
  }
  return left
}

/**
 * Grants our own roles and logins the functions that PUBLIC has lost: set_config to all that set a
 * context; signals, notices and the server's statistics to the owner; statistics also to the
 * server's monitors. Does nothing in a database that was not hardened.
 *
 * ```sql
 * grant execute on function pg_catalog.set_config(text,text,boolean)
 *   to "tenancy_app_1f3a0c22", "app", …
 * ```
 *
 * @param isHardening whether this run revokes the functions from PUBLIC
 */
export async function grantHardened (
  client: SqlClient,
  roles: Roles,
  logins: Logins,
  isHardening: boolean
): Promise<void> {
  for (
    const { name, base, isPublic, isOurs } of await findFunctions(client, [...settings, ...signals,
      ...notices, ...statements, ...counts])
  ) {
    if (isOurs && (!isPublic || isHardening))
      await client.query(
        `grant execute on function ${name} to ${holdersOf(base, roles, logins).map(quoteName).join(', ')}`
      )
  }
}

// The server's own role for monitors. Members of pg_monitor are members of this role.
const monitor = 'pg_read_all_stats'

// Logins get set_config too, because they inherit nothing: the context is set before SET ROLE, and
// inside a transaction after it.
function holdersOf (base: string, roles: Roles, logins: Logins): string[] {
  if (signals.includes(base) || notices.includes(base)) return [roles.owner]
  if (statements.includes(base) || counts.includes(base)) return [roles.owner, monitor]
  if (!settings.includes(base)) return []
  const users = Object.values(logins as Record<string, { readonly user: string }>).map(({ user }) => user)
  return [
    ...new Set([roles.owner, roles.app, roles.shared, roles.global, roles.system, roles.registry, ...users])
  ]
}

async function findFunctions (client: SqlClient, names: readonly string[]): Promise<Callable[]> {
  const { rows } = await client.query<Callable>(
    `
    select 'pg_catalog.' || pg_catalog.quote_ident(p.proname) || '('
      || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' as name, p.proname::text as base,
      exists (select from pg_catalog.aclexplode(coalesce(p.proacl,
        pg_catalog.acldefault('f', p.proowner))) where grantee = 0) as "isPublic",
      pg_catalog.pg_has_role(session_user, p.proowner, 'USAGE') as "isOurs"
    from pg_catalog.pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any($1)
      -- ts_rewrite with three arguments only computes. With two arguments it runs a text.
      and (p.proname <> 'ts_rewrite' or p.pronargs = 2)
    order by p.oid::regprocedure::text`,
    [names]
  )
  return rows
}
