export { forgetTenant } from './forget-tenant.ts'
export { canListen, openListener } from './open-listener.ts'
export { type PostgresRegistryOptions, postgresRegistry } from './postgres-registry.ts'
export { type PagePosition, type SearchFilter, searchTenantRows } from './search-tenants.ts'
export { type TableColumns, TableRegistry, type TableRegistryOptions,
  tableRegistry } from './table-registry.ts'
export { type OpenListener, catalogChange } from './watch-tenants.ts'
