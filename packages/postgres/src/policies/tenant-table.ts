import { quoteName, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import type { Roles } from '../roles/roles.ts'
import { hasColumn, inspectTenantColumn, parentKeys, type TableFacts } from '../tables/inspect-table.ts'
import { quotedRoles } from './grants.ts'
import { childPredicate, policyNames, tenantPredicate, tenantSetting, type PolicyMode } from './policy.ts'

export interface ProtectTableOptions {
  readonly schema: string
  readonly table: string
  readonly roles: Roles
}

export interface TenantTableOptions extends ProtectTableOptions, PolicyMode {
  readonly column: string
  /** The other tenant tables. A table without the column belongs to their tenants. @default none */
  readonly parents?: readonly string[]
}

/** The conditions under which a row may be seen and written. */
interface Condition {
  readonly using: string
  readonly check: string
}

/**
 * Returns the condition of a tenant table. Also makes the context the column's default, and
 * creates an index that the column leads.
 *
 * @throws FST_TENANCY_SETUP_INVALID if the table has other policies, or no usable tenant column
 */
export async function conditionOf (
  client: SqlClient,
  facts: TableFacts,
  { schema, column, parents = [], ...mode }: TenantTableOptions
): Promise<Condition> {
  const ours: readonly string[] = [...Object.values(policyNames), legacyPolicy]
  const foreign = facts.policies.filter(policy => !ours.includes(policy))
  // Permissive policies are combined by OR, so any other policy could let another tenant's rows
  // through.
  if (foreign.length > 0)
    throw new SetupInvalidError(
      `table ${facts.name} has other policies (${
        foreign.join(', ')
      }): drop them, or take the table from options.tables`
    )
  const keys = await hasColumn(client, facts, column) ? [] : await parentKeys(client, facts, schema, parents)
  // Without a key to a tenant table, prepareColumn() throws the error about the missing column.
  return childPredicate(facts.name, keys) ?? prepareColumn(client, facts, column, mode)
}

async function prepareColumn (
  client: SqlClient,
  facts: TableFacts,
  column: string,
  mode: PolicyMode
): Promise<Condition> {
  const { type, isIdentity, isIndexed } = await inspectTenantColumn(client, facts, column)
  if (!isIndexed) await client.query(`create index on ${facts.name} (${quoteName(column)})`)
  if (!isIdentity)
    await client.query(
      `alter table ${facts.name} alter column ${quoteName(column)} set default ${tenantSetting(type)}`
    )
  const predicate = tenantPredicate(column, type, mode)
  return { using: predicate, check: predicate }
}

/**
 * The policy for the roles of legacy code during an observation. Its comment holds their last
 * days.
 */
export const legacyPolicy = 'tenancy_legacy'

/** Returns SQL that recreates our two policies. */
export function createPolicies ({ name }: TableFacts, roles: Roles, { using, check }: Condition): string {
  const { owner, system, app } = quotedRoles(roles)
  return `drop policy if exists ${policyNames.tenant} on ${name};
    drop policy if exists ${policyNames.system} on ${name};
    create policy ${policyNames.tenant} on ${name} to ${app} using (${using}) with check (${check});
    create policy ${policyNames.system} on ${name} to ${owner}, ${system} using (true) with check (true)`
}
