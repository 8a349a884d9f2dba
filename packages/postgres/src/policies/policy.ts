import { quoteName } from '../client/sql-client.ts'
import type { TenantColumnType, ParentKey } from '../tables/table-facts.ts'

/** The context's tenant as a value of the column's type; NULL where there is none: a setting that was set once reads `''`, not NULL, ever after. */
export function tenantSetting (type: TenantColumnType): string {
  return `nullif(pg_catalog.current_setting('tenancy.tenant', true), '')::pg_catalog.${catalogName[type]}`
}

/** What a policy asks for besides the setting. */
export interface PolicyMode {
  /** A signed context. */
  readonly signed: boolean
  /** `'role'`: that the statement runs as the tenant's own role. @default 'setting' */
  readonly context?: 'setting' | 'role'
}

/**
 * The condition under which a row is the tenant's, for USING and WITH CHECK alike.
 *
 * ```sql
 * "tenant_id" = nullif(current_setting('tenancy.tenant', true), '')::uuid
 * -- and where contexts are signed
 * and "tenant_id" operator(tenancy.===) (select tenancy.verified_tenant()::uuid)
 * -- and where each tenant has a role
 * and "tenant_id" operator(tenancy.===) (select tenancy.role_tenant(current_setting('tenancy.tenant', true), current_user)::uuid)
 * ```
 *
 * The setting is cast and never the column, so that the column's index and statistics serve.
 * Any SQL can change the setting in the middle of a statement; the sub-select cannot be changed: it is
 * evaluated once, from a token that only the application can sign.
 */
export function tenantPredicate (
  column: string,
  type: TenantColumnType,
  { signed, context }: PolicyMode
): string {
  const name = quoteName(column)
  const truths = [
    ...(context === 'role'
      ? ["tenancy.role_tenant(pg_catalog.current_setting('tenancy.tenant', true), current_user)"]
      : []),
    ...(signed ? ['tenancy.verified_tenant()'] : [])
  ]
  return [
    `${name} = ${tenantSetting(type)}`,
    ...truths.map(truth => `${name} operator(tenancy.===) (select ${truth}::pg_catalog.${catalogName[type]})`)
  ].join(' and ')
}

/**
 * The conditions for a table without a tenant column: a row is whose its parent is. The parent's own policy decides what
 * the sub-select finds, through any number of generations.
 *
 * ```sql
 * using      exists (select from "public"."projects" parent where parent."id" = "tasks"."project_id")
 * with check … and the same for every other key to a tenant table
 * ```
 *
 * Reading asks for the first required key. Writing asks for all of them, since the check of a foreign key knows no policy.
 */
export function childPredicate (
  table: string,
  keys: readonly ParentKey[]
): { using: string; check: string } | undefined {
  const first = keys.find(({ isRequired }) => isRequired)
  if (first === undefined) return undefined
  const conditions = keys.map(key => ({ key, text: parentExists(table, key) }))
  return {
    using: parentExists(table, first),
    check: conditions.map(({ key, text }) =>
      key.isRequired
        ? text
        : `(${key.columns.map(column => `${table}.${quoteName(column)} is null`).join(' or ')} or ${text})`
    ).join(' and ')
  }
}

function parentExists (table: string, { parent, columns, parentColumns }: ParentKey): string {
  const pairs = columns.map((column, index) =>
    `parent.${quoteName(parentColumns[index] ?? '')} = ${table}.${quoteName(column)}`
  )
  return `exists (select from ${parent} parent where ${pairs.join(' and ')})`
}

const catalogName = { text: 'text', uuid: 'uuid', int: 'int4', bigint: 'int8' } as const

/** The names of our two policies on a tenant table. */
export const policyNames = { tenant: 'tenancy_tenant', system: 'tenancy_system' } as const
