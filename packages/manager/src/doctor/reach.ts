import type { Family, FindingRow } from '@fastify-tenancy/postgres/doctor'

/** Whether each shard of the options can be examined at all. */
export const reachChecks: Family['checks'] = {
  D690: { level: 'error', meaning: 'the shard cannot be reached, so that nothing of it was examined' }
}

export function unreachable (shard: string, { message }: Error): FindingRow {
  return {
    id: 'D690',
    object: `shard ${shard}`,
    says: message,
    fix: '-- start its server or mend its URL, then run tenancy doctor again'
  }
}
