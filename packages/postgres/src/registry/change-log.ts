import type { TenantChange } from '@fastify-tenancy/core'
import { LRUCache } from 'lru-cache'
import * as v from 'valibot'

import type { SqlClient } from '../client/sql-client.ts'

/** Most tenants that are reported one by one. Beyond it the caller has to reload all tenants. */
const mostChanges = 1_000

/** How many ids of reported changes are kept, so that no change is reported twice. */
const mostSeen = 20_000

const names = v.array(v.string())
const changesSchema = v.array(v.object({
  id: v.string(),
  slugs: names,
  domains: names,
  changes: v.array(v.object({ change: v.string(), slugs: names, domains: names }))
}))

/** Reads which tenants have changed, and reports each change once. */
export class ChangeLog {
  readonly #seen = new LRUCache<string, true>({ max: mostSeen })

  /**
   * `select tenancy.changes_of('{acme,globex}')`
   *
   * @returns the tenants that have changed since the last read, with all current and former names;
   * `'all'` if there are too many.
   */
  async read (client: SqlClient, ids: readonly string[] | null): Promise<readonly TenantChange[] | 'all'> {
    const { rows: [row] } = await client.query<{ changes: unknown }>(
      'select tenancy.changes_of($1) as changes',
      [ids]
    )
    const found = v.parse(changesSchema, JSON.parse(String(row?.changes)))
    if (found.length > mostChanges) return 'all'
    return found.flatMap(({ id, slugs, domains, changes }) => {
      const fresh = changes.filter(({ change }) => !this.#seen.has(change))
      if (fresh.length === 0) return []
      for (const { change } of fresh) this.#seen.set(change, true)
      return [{
        id,
        slugs: sorted([slugs, ...fresh.map(change => change.slugs)]),
        domains: sorted([domains, ...fresh.map(change => change.domains)])
      }]
    })
  }
}

function sorted (lists: readonly (readonly string[])[]): string[] {
  return [...new Set(lists.flat())].toSorted()
}
