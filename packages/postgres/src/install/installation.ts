import { quoteName, sqlState, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import type { Roles, SessionInfo } from '../roles/roles.ts'

const source = 'pg_catalog.pg_control_system()'

interface InstallationReport {
  /** Whether a new id was made: the database is a copy, has moved, or the caller asked for it. */
  readonly isNew: boolean
  readonly notes: readonly string[]
  readonly left: readonly string[]
}

/**
 * Creates the id of this installation, unless the database has an id that was made for it. A copy
 * of a database gets a new id.
 *
 * @param isNew makes a new id in any case, because a copy of a server's files looks like its
 * original
 * @returns notices for the operator, and the remaining steps
 */
export async function ensureInstallation (
  client: SqlClient,
  session: SessionInfo,
  roles: Roles,
  isNew: boolean
): Promise<InstallationReport> {
  if (!await mayReadPlace(client, roles.owner)) {
    if (!session.superuser)
      return {
        isNew: false,
        notes: [],
        left: [
          'the database gets no installation id, and so cannot be used with Redis: only a superuser ' +
          `can run \`grant execute on function ${source} to ${quoteName(roles.owner)}\``
        ]
      }
    await client.query(`grant execute on function ${source} to ${quoteName(roles.owner)}`)
  }
  await client.query(`set local role ${quoteName(roles.owner)}`)
  const { rows: [row] } = await client.query<{ isCopy: boolean }>(`
    insert into tenancy.installation as made (id, system_identifier, database_oid)
    select pg_catalog.gen_random_uuid()::text, place.system_identifier, place.database_oid
      from tenancy.place() place
    on conflict (is_the_one) do update
    set id = excluded.id, system_identifier = excluded.system_identifier,
      database_oid = excluded.database_oid, made_at = now()
    where ${
    isNew
      ? 'true'
      : '(made.system_identifier, made.database_oid) <> (excluded.system_identifier, excluded.database_oid)'
  }
    returning xmax <> 0 as "isCopy"`)
  await client.query('set local role none')
  if (row?.isCopy !== true) return { isNew: false, notes: [], left: [] }
  return {
    isNew: true,
    left: [],
    notes: [
      `${
        isNew ? '' : 'this database is a copy, or has moved to another server: '
      }the installation has a new id, so that it shares no key of Redis with ` +
      'the one that had the old id; restart the application'
    ]
  }
}

/**
 * Returns the id that every key and channel of Redis carries.
 *
 * @throws FST_TENANCY_SETUP_INVALID if there is no id, or it was made for another database
 */
export async function readInstallation (client: SqlClient): Promise<string> {
  const { rows: [row] } = await client.query<{ id: string; is_here: boolean }>(
    'select id, is_here from tenancy.installation()'
  ).catch(explain)
  if (row === undefined)
    throw new SetupInvalidError(
      'the database has no installation id, which keeps its keys apart in Redis: run `tenancy init`'
    )
  if (!row.is_here)
    throw new SetupInvalidError(
      'this database is a copy, or has moved to another server, and would share its keys in Redis ' +
        'with the original: run `tenancy init`, which makes a new installation id'
    )
  return row.id
}

// undefined_function if the function is missing, invalid_schema_name if the schema is missing.
function explain (error: unknown): never {
  const state = sqlState(error)
  if (state === '42883' || state === '3F000')
    throw new SetupInvalidError(
      'the database is not initialised, or by an older version: run `tenancy init`',
      { cause: error }
    )
  if (state === '42501')
    throw new SetupInvalidError(
      'the login that looks tenants up may not read the installation id: ' +
        'run `tenancy init` with the configuration of this application',
      { cause: error }
    )
  throw error
}

async function mayReadPlace (client: SqlClient, owner: string): Promise<boolean> {
  const { rows: [row] } = await client.query<{ may: boolean }>(
    `
    select pg_catalog.has_function_privilege('public', '${source}', 'EXECUTE')
      or coalesce((select pg_catalog.has_function_privilege(oid, '${source}', 'EXECUTE')
        from pg_catalog.pg_roles where rolname = $1), false) as may`,
    [owner]
  )
  return row?.may === true
}
