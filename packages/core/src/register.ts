/**
 * The types of the application, given by augmentation:
 *
 * ```ts
 * declare module 'fastify-tenancy' {
 *   interface Register {
 *     database: MyDatabase
 *     tenantTables: 'projects'
 *     sharedTables: 'countries'
 *   }
 * }
 * ```
 *
 * Known keys: `database` (a Kysely schema), `tenantTables`, `sharedTables`, `globalTables` (unions
 * of its table names), `tenantColumn` (default `'tenant_id'`), `tenantSettings` (type of
 * `tenant.settings`), `mode` (`'strict'`, the default, or `'loose'`).
 */
export interface Register {}
