import { tenantIdentifier, type Tenant } from '@fastify-tenancy/core'

/** The schema of a tenant: the one that the registry names, or `tenant_<id>`. */
export function schemaOf ({ id, placement }: Pick<Tenant, 'id' | 'placement'>): string {
  return placement.schema ?? tenantIdentifier(id)
}

/** The database of a tenant, or what `decrypt` makes its URL of: the one that the registry names, or `tenant_<id>`. */
export function databaseNameOf ({ id, placement }: Pick<Tenant, 'id' | 'placement'>): string {
  return placement.database ?? tenantIdentifier(id)
}
