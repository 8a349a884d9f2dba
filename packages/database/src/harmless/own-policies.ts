import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { checkInput, tableChecks, type CatalogFacts } from '@fastify-tenancy/postgres/doctor'

// The doctor judges each policy of the listed tables by its exact text, roles and kind. What follows are its findings.
const [judged] = tableChecks.text.split(',\nlegacy as (')
const text = `${judged} select oid::text from judged where is_tenants or is_systems`

/** The ids of the policies that are exactly as `protect` makes them. To be called as the doctor's checks are. */
export async function readOwnPolicies (client: SqlClient, input: CatalogFacts): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ oid: string }>(text, [JSON.stringify(checkInput(input))])
  return new Set(rows.map(({ oid }) => oid))
}
