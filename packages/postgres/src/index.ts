export { DatabaseUnavailableError, SetupInvalidError } from './errors.ts'
export { postgresRegistry, tableRegistry, type PostgresRegistryOptions, type TableColumns,
  type TableRegistryOptions } from './registry/index.ts'
