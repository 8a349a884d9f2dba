import { SetupInvalidError } from '@fastify-tenancy/postgres'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { LRUCache } from 'lru-cache'

/**
 * Records the last lockout version in which each tenant of one database was not locked out. Every
 * change of any lockout in the database makes a new version. Until then a statement skips the
 * lookup.
 */
export class LockoutVersions {
  // An evicted entry only costs one extra lookup.
  readonly #seen = new LRUCache<string, string>({ max: 10_000 })

  /** Returns the version in which `passage` was not locked out; null if unknown. */
  of (passage: string): string | null {
    return this.#seen.get(passage) ?? null
  }

  set (passage: string, version: string): void {
    this.#seen.set(passage, version)
  }
}

/**
 * Whether a database has lockouts, as every database has after `tenancy init`.
 *
 * @throws FST_TENANCY_SETUP_INVALID if it has lockouts and the login may not check them
 */
export async function hasLockouts (client: SqlClient): Promise<boolean> {
  const { rows: [row] } = await client.query<{ exists: boolean; may: boolean }>(`
    select count(*) = 4 as exists, pg_catalog.bool_and(
      pg_catalog.has_schema_privilege(n.oid, 'usage')
      and pg_catalog.has_function_privilege(p.oid, 'execute')) as may
    from pg_catalog.pg_namespace n
    join pg_catalog.pg_proc p on p.pronamespace = n.oid and p.proname in (
      'check_lockout', 'current_lockout_version', 'current_catalog_epoch', 'current_versions')
    where n.nspname = 'tenancy'`)
  if (row?.exists !== true) return false
  if (!row.may)
    throw new SetupInvalidError(
      'the login in options.database.url may not read whether a tenant is locked out: ' +
        'run `tenancy init` with this URL'
    )
  return true
}
