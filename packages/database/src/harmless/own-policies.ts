import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { checkInput, tableChecks, type CatalogFacts } from '@fastify-tenancy/postgres/doctor'

// The doctor compares each policy of the listed tables by exact text, roles and kind. The rest of
// its query makes findings.
const [judged] = tableChecks.text.split(',\nlegacy as (')
const text = `${judged} select oid::text from judged where is_tenants or is_systems`

/**
 * Returns the ids of the policies that are exactly as `protect` creates them. Must be called under
 * the conditions of the doctor's checks.
 */
export async function readOwnPolicies (client: SqlClient, input: CatalogFacts): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ oid: string }>(text, [JSON.stringify(checkInput(input))])
  return new Set(rows.map(({ oid }) => oid))
}
