import { SetupInvalidError } from '@fastify-tenancy/postgres'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { LRUCache } from 'lru-cache'

/**
 * The epochs in which tenants of one database were seen to pass their fences. An epoch ends with every change of any fence
 * in the database: until then a statement need not look again.
 */
export class LockoutVersions {
  // Who is left out looks once more, and nothing else happens.
  readonly #seen = new LRUCache<string, string>({ max: 10_000 })

  /** The epoch in which `passage` was free; null where that is not known. */
  of (passage: string): string | null {
    return this.#seen.get(passage) ?? null
  }

  learn (passage: string, epoch: string): void {
    this.#seen.set(passage, epoch)
  }
}

/**
 * Whether a database keeps fences: every one that `tenancy init` has seen.
 *
 * @throws FST_TENANCY_SETUP_INVALID where it does, and the login may not pass them
 */
export async function hasLockouts (client: SqlClient): Promise<boolean> {
  const { rows: [row] } = await client.query<{ exists: boolean; may: boolean }>(`
    select count(*) = 4 as exists, pg_catalog.bool_and(pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_function_privilege(p.oid, 'execute')) as may
    from pg_catalog.pg_namespace n join pg_catalog.pg_proc p on p.pronamespace = n.oid and p.proname in ('check_lockout', 'current_lockout_version', 'current_catalog_epoch', 'current_versions')
    where n.nspname = 'tenancy'`)
  if (row?.exists !== true) return false
  if (!row.may)
    throw new SetupInvalidError(
      'the login in options.database.url may not read whether a tenant is locked out: run `tenancy init` with this URL'
    )
  return true
}
