import { checkOptions, duration } from '@fastify-tenancy/core/options'
import * as v from 'valibot'

import type { ManagerContext } from '../context/context.ts'

/** Options of {@link Manager.pruneAudit}. */
export interface PruneAuditInput {
  /** Minimum age of the removed entries: `'365d'`. */
  readonly olderThan: string
}

const schema = v.strictObject({ olderThan: duration }, 'must be an object of olderThan')

/**
 * Removes old entries of `tenancy.audit` and adds an audit entry about it. This is the only way to
 * remove entries.
 *
 * @returns the number of removed entries
 */
export async function pruneAudit ({ shards }: ManagerContext, input: PruneAuditInput): Promise<number> {
  const { olderThan } = checkOptions(schema, input, 'pruneAudit')
  const { rows: [row] } = await shards.get('default').query<{ removed: string }>(
    "select tenancy.prune_audit(pg_catalog.now() - $1 * interval '1 millisecond')::text as removed",
    [olderThan]
  )
  return Number(row?.removed ?? 0)
}
