import type { Family, FindingRow } from '@fastify-tenancy/postgres/doctor'

/** Whether each shard of the options can be examined. */
export const reachChecks: Family['checks'] = {
  D690: { level: 'error', meaning: 'the shard cannot be reached, so it was not examined' }
}

export function unreachable (shard: string, { message }: Error): FindingRow {
  return {
    id: 'D690',
    object: `shard ${shard}`,
    says: message,
    fix: '-- start its server or correct its URL, then run tenancy doctor again'
  }
}
