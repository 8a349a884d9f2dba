import { Script } from '../client/script.ts'
import { quoteName, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import type { Roles } from '../roles/roles.ts'
import { policyNames } from './policy.ts'

/**
 * Resolves if these tables may get policies that require a signature. A process signs only if the
 * policies asked for a signature when it booted. So a process that is connected while a policy is
 * plain does not sign, and each of its statements would fail with TN401.
 *
 * A script records a note instead, because it may run at another time.
 *
 * @throws FST_TENANCY_SETUP_INVALID, which names the logins that are connected
 */
export async function assertNoUnsignedSessions (
  client: SqlClient,
  { schema, tables, roles }: {
    readonly schema: string
    readonly tables: readonly string[]
    readonly roles: Roles
  }
): Promise<void> {
  const { rows: [plain] } = await client.query<{ name: string; role: string }>(
    `
    select c.relname::text as name, pg_catalog.current_setting('role') as role
    from pg_catalog.pg_policy p join pg_catalog.pg_class c on c.oid = p.polrelid
    where c.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident($1))
      and c.relname = any($2) and p.polname = $3
      and pg_catalog.pg_get_expr(p.polqual, p.polrelid) like '%tenancy.tenant%'
      and pg_catalog.pg_get_expr(p.polqual, p.polrelid) not like '%verified_tenant()%'
    limit 1`,
    [schema, tables, policyNames.tenant]
  )
  if (plain === undefined) return
  if (client instanceof Script) {
    client.note(
      'running processes of the application do not sign: stop these processes before you run this script, ' +
        'and start them with options.rls.secret afterwards'
    )
    return
  }
  // `tenancy init --harden` revokes pg_stat_activity from every role except the owner role.
  await client.query(`set local role ${quoteName(roles.owner)}`)
  const { rows } = await client.query<{ login: string; count: number }>(
    `
    select a.usename::text as login, count(*)::int as count from pg_catalog.pg_stat_activity a
    where a.datname = pg_catalog.current_database() and a.usename <> session_user
      and exists (select from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.roleid
        where m.member = a.usesysid and r.rolname = any($1))
      and not exists (select from pg_catalog.pg_auth_members m
        join pg_catalog.pg_roles r on r.oid = m.roleid
        where m.member = a.usesysid and r.rolname = $2)
    group by 1 order by 1`,
    // A process without an open connection of its pool still listens with the login of the registry.
    [[roles.app, roles.registry], roles.owner]
  )
  await client.query("select pg_catalog.set_config('role', $1, true)", [plain.role])
  if (rows.length === 0) return
  const connected = rows.map(({ login, count }) =>
    `${count} ${count === 1 ? 'connection' : 'connections'} of the login '${login}'`
  )
  throw new SetupInvalidError(
    `the policy of table '${plain.name}' would ask for a signature, and the processes behind ` +
      `${connected.join(' and ')} do not sign: stop these processes, run \`tenancy protect\`, ` +
      'and start them with options.rls.secret ' +
      '(a pooler may hold connections of stopped processes: close them)'
  )
}
