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
  /** The other tenant tables, through which a table without the column has its tenants. @default none */
  readonly parents?: readonly string[]
}

/** Under which condition a row may be seen, and written. */
export interface Condition {
  readonly using: string
  readonly check: string
}

/**
 * The condition of a tenant table, whose column is filled from the context from now on, and which gets an index that the column leads.
 *
 * @throws FST_TENANCY_SETUP_INVALID when the table has other policies, or no column that can be a tenant's
 */
export async function conditionOf (
  client: SqlClient,
  facts: TableFacts,
  { schema, column, parents = [], ...mode }: TenantTableOptions
): Promise<Condition> {
  const ours: readonly string[] = [...Object.values(policyNames), legacyPolicy]
  const foreign = facts.policies.filter(policy => !ours.includes(policy))
  // Permissive policies are joined by OR: any other one could let another tenant's rows through.
  if (foreign.length > 0)
    throw new SetupInvalidError(
      `table ${facts.name} has other policies (${
        foreign.join(', ')
      }): drop them, or take the table from options.tables`
    )
  const keys = await hasColumn(client, facts, column) ? [] : await parentKeys(client, facts, schema, parents)
  // Without a key to a tenant table either, this is the error that tells of the missing column.
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

/** The policy of the roles of old code, while a table is under observation; its comment holds their last days. */
export const legacyPolicy = 'tenancy_legacy'

/** SQL that makes our two policies anew, and drops any of old code. */
export function createPolicies ({ name }: TableFacts, roles: Roles, { using, check }: Condition): string {
  const { owner, system, app } = quotedRoles(roles)
  return `drop policy if exists ${policyNames.tenant} on ${name};
    drop policy if exists ${policyNames.system} on ${name};
    create policy ${policyNames.tenant} on ${name} to ${app} using (${using}) with check (${check});
    create policy ${policyNames.system} on ${name} to ${owner}, ${system} using (true) with check (true)`
}
