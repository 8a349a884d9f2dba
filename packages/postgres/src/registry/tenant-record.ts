import { toTenant, isolations, tenantStatuses, type TenantRecord } from '@fastify-tenancy/core'
import * as v from 'valibot'

const name = v.pipe(v.string(), v.minLength(1))
const date = v.pipe(v.string(), v.transform(text => new Date(text)), v.date())

const schema = v.object({
  id: name,
  slug: name,
  name,
  status: v.picklist(tenantStatuses),
  plan: name,
  isolation: v.picklist(isolations),
  shard: name,
  schema: v.nullable(name),
  database: v.nullable(name),
  settings: v.record(v.string(), v.unknown()),
  version: v.pipe(v.number(), v.integer()),
  createdAt: date,
  updatedAt: date,
  domains: v.array(name)
})

/**
 * Returns the tenant of one `tenancy.tenant_json()`. A row that this version does not understand
 * is an error, because a status of a newer version must not read as `active`.
 */
export function readTenantJson (json: string): TenantRecord {
  const { shard, schema: own, database, ...rest } = v.parse(schema, JSON.parse(json))
  return toTenant({
    ...rest,
    placement: { shard, ...(own !== null && { schema: own }), ...(database !== null && { database }) }
  })
}
