import { quoteName, type SqlClient } from '../client/sql-client.ts'
import type { Roles } from '../roles/roles.ts'
import { inspectView } from '../tables/inspect-table.ts'
import type { ListedViews } from '../tables/listed-views.ts'
import { assertInvokers, viewNames } from '../tables/views.ts'
import { grantRows, quotedRoles, takeOwnership } from './grants.ts'

interface ProtectViewsOptions {
  readonly schema: string
  readonly views: ListedViews
  readonly roles: Roles
  /** Whether legacy code keeps its privileges and the views their owners: see `observeTable`. */
  readonly isShared: boolean
}

/**
 * Grants the listed views as the tables of their lists are granted. The policies of the tables
 * below decide which rows a role sees.
 *
 * @throws FST_TENANCY_SETUP_INVALID if a view reads as its owner
 */
export async function protectViews (
  client: SqlClient,
  { schema, views, roles, isShared }: ProtectViewsOptions
): Promise<void> {
  await assertInvokers(client, schema, viewNames(views))
  const { app, shared, global, system } = quotedRoles(roles)
  const grantees = [
    [Object.keys(views.tenant), [app]],
    [views.shared, [app, shared]],
    [views.global, [global]]
  ] as const
  for (const [names, roleNames] of grantees) {
    for (const name of names) {
      const facts = await inspectView(client, schema, name)
      if (!isShared) await takeOwnership(client, facts, roles)
      else await grantRows(client, facts, system)
      for (const role of roleNames) {
        if (names === views.shared)
          await client.query(`grant select on ${quoteName(schema)}.${quoteName(name)} to ${role}`)
        else await grantRows(client, facts, role)
      }
    }
  }
}
