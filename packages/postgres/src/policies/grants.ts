import { quoteName, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import type { Roles } from '../roles/roles.ts'
import type { TableFacts } from '../tables/inspect-table.ts'

/**
 * Makes the owner role the owner of a table, and revokes all from our other roles and PUBLIC. An
 * owner could disable the table's policies, and earlier grants would bypass our privileges.
 */
export async function takeOwnership (
  client: SqlClient,
  { family, sequences, looseSequences, name, extension }: TableFacts,
  roles: Roles
): Promise<void> {
  if (extension !== null)
    throw new SetupInvalidError(
      `table ${name} is a part of extension '${extension}', which alone may change it: ` +
        'list it in options.tables.shared, if tenants are to read it'
    )
  const { owner, app, shared, global, system, registry } = quotedRoles(roles)
  const grantees = `public, ${app}, ${shared}, ${global}, ${system}, ${registry}`
  for (const member of family)
    await client.query(`alter table ${member} owner to ${owner}; revoke all on ${member} from ${grantees}`)
  // A sequence that no table owns has its own owner and may serve tables of several lists. So
  // grants for another list stay.
  for (const sequence of looseSequences)
    await client.query(
      `alter sequence ${sequence} owner to ${owner}; revoke all on sequence ${sequence} from public`
    )
  for (const sequence of sequences) {
    if (!looseSequences.includes(sequence))
      await client.query(`revoke all on sequence ${sequence} from ${grantees}`)
    await client.query(`grant usage on sequence ${sequence} to ${system}`)
  }
  await client.query(`grant select, insert, update, delete on ${name} to ${system}`)
}

/**
 * Grants a role the row statements of a table. Never TRUNCATE, which ignores policies; nor
 * REFERENCES and TRIGGER, which act with the rights of the table's owner.
 */
export async function grantRows (
  client: SqlClient,
  { name, sequences }: TableFacts,
  role: string
): Promise<void> {
  await client.query(`grant select, insert, update, delete on ${name} to ${role}`)
  for (const sequence of sequences) await client.query(`grant usage on sequence ${sequence} to ${role}`)
}

/** Returns the roles' quoted names. */
export function quotedRoles (roles: Roles): Roles {
  return {
    owner: quoteName(roles.owner),
    app: quoteName(roles.app),
    shared: quoteName(roles.shared),
    global: quoteName(roles.global),
    system: quoteName(roles.system),
    registry: quoteName(roles.registry)
  }
}
