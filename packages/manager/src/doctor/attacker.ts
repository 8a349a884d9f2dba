import { quoteName, quoteText, sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { signingKey, signToken } from '@fastify-tenancy/postgres/context-token'
import { rolesOf, type Roles } from '@fastify-tenancy/postgres/roles'

/** The session of an attack: role and settings that are set before its statement. */
export interface AttackContext {
  /** @default the login itself */
  readonly role?: string
  /** @default none */
  readonly tenant?: string
  /** @default 'on' */
  readonly rowSecurity?: 'off'
}

interface AttackerSettings {
  readonly client: SqlClient
  readonly database: string
  readonly login: string
  /** The key with which contexts are signed, if they are. */
  readonly secret: string | undefined
}

/** Returns an identifier in the format of `format('%I')`, as findings name objects. */
export function plainContext (name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : quoteName(name)
}

/** A connection with the application's login that attacks. Every attack is rolled back. */
export class Attacker {
  readonly login: string
  readonly database: string
  readonly roles: Roles
  readonly isSigned: boolean
  readonly #client: SqlClient
  readonly #sign: ((tenant: string) => string) | undefined

  constructor ({ client, database, login, secret }: AttackerSettings) {
    const key = secret === undefined ? undefined : signingKey(secret)
    this.login = login
    this.database = database
    this.roles = rolesOf(database)
    this.isSigned = key !== undefined
    this.#client = client
    this.#sign = key && (tenant => signToken({ key, tenant, pid: null }))
  }

  /** Returns the rows of a statement; undefined if PostgreSQL refused it. */
  async attempt<R> (context: AttackContext, text: string, values?: unknown[]): Promise<R[] | undefined> {
    try {
      return (await this.#rolledBack(context, () => this.#client.query<R>(text, values))).rows
    } catch (error) {
      // An error with SQLSTATE is a refusal; any other is a connection error.
      if (sqlState(error) === undefined) throw error
      return undefined
    }
  }

  /**
   * Whether a statement is permitted. It may still fail for another reason, such as a lock, or rows
   * that refer to deleted ones.
   */
  async may (context: AttackContext, text: string): Promise<boolean> {
    try {
      await this.#rolledBack(context, () => this.#client.query(text))
      return true
    } catch (error) {
      if (sqlState(error) === undefined) throw error
      return sqlState(error) !== '42501'
    }
  }

  /**
   * Returns the roles that a statement can set, by trying each. It tries as the login itself,
   * because the current role does not affect which roles a login may set.
   */
  async takes (names: readonly string[]): Promise<string[]> {
    try {
      return await this.#rolledBack({}, async () => {
        await this.#client.query("select pg_catalog.set_config('tenancy.probe', $1::text[]::text, true)", [
          names
        ])
        await this.#client.query(take)
        const { rows: [row] } = await this.#client.query<{ taken: string[] }>(
          "select pg_catalog.current_setting('tenancy.probe')::text[] as taken"
        )
        return row?.taken ?? []
      })
    } catch (error) {
      if (sqlState(error) === undefined) throw error
    }
    // The login may not use plpgsql, so try one by one.
    const taken: string[] = []
    for (const name of names)
      if (await this.attempt({}, "select pg_catalog.set_config('role', $1, true)", [name]) !== undefined)
        taken.push(name)
    return taken
  }

  /** Whether a statement returns a row of a relation. */
  async reads (context: AttackContext, relation: string): Promise<boolean> {
    return ((await this.attempt(context, `select 1 from ${relation} limit 1`)) ?? []).length > 0
  }

  /** Returns the relations that a role may read, except PostgreSQL's own. */
  async readable (context: AttackContext): Promise<string[]> {
    const rows = await this.attempt<{ name: string }>(
      context,
      `
      select pg_catalog.format('%I.%I', n.nspname, c.relname) as name
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p', 'v', 'm', 'f')
        and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and not exists (
          select from pg_catalog.pg_depend e
          where e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.objid = c.oid and e.deptype = 'e'
        )
        and pg_catalog.has_schema_privilege(n.oid, 'USAGE')
        and pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
      order by 1`
    )
    return (rows ?? []).map(({ name }) => name)
  }

  async #rolledBack<T> (context: AttackContext, attack: () => Promise<T>): Promise<T> {
    const { role, tenant, rowSecurity = 'on' } = context
    const settings = {
      row_security: rowSecurity,
      ...(tenant !== undefined && { 'tenancy.tenant': tenant }),
      ...(tenant !== undefined && this.#sign !== undefined && { 'tenancy.token': this.#sign(tenant) }),
      ...(role !== undefined && { role })
    }
    try {
      // Short timeouts, because an attack that gets a lock would block the application.
      await this.#client.query(`
        begin; set local lock_timeout = '200ms'; set local statement_timeout = '10s';
        select ${
        Object.entries(settings).map(([name, value]) =>
          `pg_catalog.set_config(${quoteText(name)}, ${quoteText(value)}, true)`
        ).join(', ')
      }`)
      return await attack()
    } finally {
      await this.#client.query('rollback')
    }
  }
}

const take = `do $tenancy$
declare
  name text;
  taken text[] := '{}';
begin
  foreach name in array current_setting('tenancy.probe')::text[] loop
    begin
      perform set_config('role', name, true);
      taken := taken || name;
      perform set_config('role', 'none', true);
    exception when others then
      begin
        execute format('set local session authorization %I', name);
        taken := taken || name;
        set local session authorization default;
      exception when others then null;
      end;
    end;
  end loop;
  perform set_config('tenancy.probe', taken::text, true);
end
$tenancy$`
