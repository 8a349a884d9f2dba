import { quoteName } from './sql-client.ts'

/** Types that a tenant column may have. */
export type TenantColumnType = 'text' | 'uuid' | 'int' | 'bigint'

/** The context's tenant as a value of the column's type; NULL where there is none: a setting that was set once reads `''`, not NULL, ever after. */
export function tenantSetting (type: TenantColumnType): string {
  return `nullif(pg_catalog.current_setting('tenancy.tenant', true), '')::pg_catalog.${catalogName[type]}`
}

/**
 * The condition under which a row is the tenant's, for USING and WITH CHECK alike.
 *
 * ```sql
 * "tenant_id" = nullif(current_setting('tenancy.tenant', true), '')::uuid
 * -- and where contexts are signed
 * and "tenant_id" operator(tenancy.===) (select tenancy.verified_tenant()::uuid)
 * ```
 *
 * The setting is cast and never the column, so that the column's index and statistics serve.
 * Any SQL can change the setting in the middle of a statement; the sub-select cannot be changed: it is
 * evaluated once, from a token that only the application can sign.
 */
export function tenantPredicate (column: string, type: TenantColumnType, signed: boolean): string {
  const name = quoteName(column)
  const plain = `${name} = ${tenantSetting(type)}`
  return signed ? `${plain} and ${name} operator(tenancy.===) (select tenancy.verified_tenant()::pg_catalog.${catalogName[type]})` : plain
}

const catalogName = { text: 'text', uuid: 'uuid', int: 'int4', bigint: 'int8' } as const

/** The names of our two policies on a tenant table. */
export const policyNames = { tenant: 'tenancy_tenant', system: 'tenancy_system' } as const
