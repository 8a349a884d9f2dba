import type { Tenant } from '@fastify-tenancy/core'
import { tenantIdentifier } from '@fastify-tenancy/core/keys'

/** Returns a tenant's schema: the name in the registry, or `tenant_<id>`. */
export function schemaOf ({ id, placement }: Pick<Tenant, 'id' | 'placement'>): string {
  return placement.schema ?? tenantIdentifier(id)
}

/**
 * Returns a tenant's database, or the input of `decrypt`: the registry's text, or `tenant_<id>`.
 */
export function databaseNameOf ({ id, placement }: Pick<Tenant, 'id' | 'placement'>): string {
  return placement.database ?? tenantIdentifier(id)
}
