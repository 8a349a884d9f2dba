export { assertNoDependents, readDependents, readDependentsOf, refuseDependents } from './dependents.ts'
export { databaseNameOf, schemaOf } from './placement.ts'
export { type TenantDatabaseInput, ensureTenantDatabase, grantTenantDatabase } from './tenant-database.ts'
export { type TenantSchemaInput, assertFree, ensureTenantSchema } from './tenant-schema.ts'
export { type ResolvedTenantsOptions, type TenantsOptions, hasOwnLogins,
  resolveTenantUrl } from './tenant-url.ts'
