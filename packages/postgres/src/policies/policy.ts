import { quoteName } from '../client/sql-client.ts'
import type { TenantColumnType, ParentKey } from '../tables/table-facts.ts'

/**
 * Returns SQL for the context's tenant in the column's type, or NULL without a context. A setting
 * that was set once reads `''` ever after, not NULL, hence the nullif.
 */
export function tenantSetting (type: TenantColumnType): string {
  return `nullif(pg_catalog.current_setting('tenancy.tenant', true), '')::pg_catalog.${catalogName[type]}`
}

/** The requirements of a policy in addition to the setting. */
export interface PolicyMode {
  /** Requires a signed context. */
  readonly signed: boolean
  /** `'role'` requires that the statement runs as the tenant's own role. @default 'setting' */
  readonly context?: 'setting' | 'role'
}

/**
 * Returns the condition under which a row is the tenant's, for USING and WITH CHECK.
 *
 * ```sql
 * "tenant_id" = nullif(current_setting('tenancy.tenant', true), '')::uuid
 * -- with signed contexts also:
 * and "tenant_id" operator(tenancy.===) (select tenancy.verified_tenant()::uuid)
 * -- with a role per tenant also:
 * and "tenant_id" operator(tenancy.===)
 *   (select tenancy.role_tenant(current_setting('tenancy.tenant', true), current_user)::uuid)
 * ```
 *
 * The setting is cast, never the column, so that the planner can use the column's index and
 * statistics. Any SQL can change the setting within a statement. It cannot change the sub-select,
 * which is evaluated once, from a token that only the application can sign.
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
 * Returns the conditions for a table without a tenant column: a row belongs to its parent's
 * tenant. The parent's own policy decides which parents the sub-select finds, through any number
 * of generations.
 *
 * ```sql
 * using (exists (
 *   select from "public"."projects" parent where parent."id" = "tasks"."project_id"))
 * with check … and the same for every other key to a tenant table
 * ```
 *
 * Reading checks the first required key. Writing checks all keys, because PostgreSQL's own check
 * of a foreign key ignores policies.
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
