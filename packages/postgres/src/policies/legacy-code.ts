import { nameOfRelation, quoteName, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import { legacyPolicy } from './tenant-table.ts'

/** A table that legacy code uses as before. */
export interface Observation {
  /** `"public"."tasks"` */
  readonly name: string
  /** The table's sequences. */
  readonly sequences: readonly string[]
  /** The roles of the legacy code, each with its last day: `'2027-03-31'`. */
  readonly legacy: Readonly<Record<string, string>>
  /** The triggers that stage `prepare` created: they fill the tenant column for the legacy code. */
  readonly triggers: readonly string[]
  /** False if the roles have the table only because `protect` has not revoked it yet. */
  readonly isObserved: boolean
}

/**
 * Returns the tables of a schema that legacy code uses, by name. These are the tables under
 * observation, and the tables on which a role in `legacy` has privileges.
 * Every login can read the observations, because they are stored only in the catalog.
 */
export async function readOldCode (
  client: SqlClient,
  schema: string,
  legacy: Observation['legacy'] = {}
): Promise<ReadonlyMap<string, Observation>> {
  const { rows } = await client.query<
    {
      table: string
      sequences: string[]
      roles: string[] | null
      days: string | null
      holders: string[]
      triggers: string[]
    }
  >(
    `
    select * from (
      select c.relname::text as table,
        array(select ${
      nameOfRelation('s.oid')
    } from pg_catalog.pg_depend d join pg_catalog.pg_class s on s.oid = d.objid
          where d.refobjid = c.oid and d.refclassid = 'pg_catalog.pg_class'::regclass
            and d.classid = 'pg_catalog.pg_class'::regclass and s.relkind = 'S' order by 1) as sequences,
        case when p.oid is not null then array(select rolname::text from pg_catalog.pg_roles
          where oid = any(p.polroles) order by 1) end as roles,
        pg_catalog.obj_description(p.oid, 'pg_policy') as days,
        array(select r.rolname::text from pg_catalog.pg_roles r where r.rolname = any($3)
          and (r.oid = c.relowner or exists (select from pg_catalog.aclexplode(c.relacl)
            where grantee = r.oid)) order by 1) as holders,
        array(select tgname::text from pg_catalog.pg_trigger
          where tgrelid = c.oid and tgparentid = 0 and tgname in ('tenancy_fill', 'tenancy_refill')
          order by 1) as triggers
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      left join pg_catalog.pg_policy p on p.polrelid = c.oid and p.polname = $2
      where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition
    ) found where roles is not null or holders <> '{}'
    order by 1`,
    [schema, legacyPolicy, Object.keys(legacy)]
  )
  return new Map(rows.map(({ table, sequences, roles, days, holders, triggers }) => [table, {
    name: `${quoteName(schema)}.${quoteName(table)}`,
    sequences,
    triggers,
    isObserved: roles !== null,
    legacy: roles === null
      ? Object.fromEntries(holders.map(role => [role, legacy[role] ?? '']))
      : readDays(roles, days)
  }]))
}

/** Returns the tables of a schema that are under observation, by name. */
export async function readObservations (
  client: SqlClient,
  schema: string
): Promise<ReadonlyMap<string, Observation>> {
  return readOldCode(client, schema)
}

// If another user has overwritten the comment, the last day is unknown and counts as not reached.
function readDays (roles: readonly string[], comment: string | null): Record<string, string> {
  const days: Record<string, unknown> = {}
  try {
    Object.assign(days, JSON.parse(comment ?? '{}'))
  } catch {}
  return Object.fromEntries(roles.map(role => {
    const day = days[role]
    return [role, typeof day === 'string' ? day : '9999-12-31']
  }))
}

/** How a table is taken from legacy code. */
interface OwnershipTransfer {
  /** Whether the caller asked for it. */
  readonly isMeant: boolean
  /** Whether it is allowed before the last day of a role. */
  readonly isForced: boolean
}

/**
 * Protects a table, and revokes it from legacy code if there is any. Protects first, because
 * revoking first removes the owner's own privileges, and `alter … owner` would hand on a table
 * without them.
 *
 * @throws FST_TENANCY_SETUP_INVALID if the caller did not ask for it, or it is too early and not
 * forced
 */
export async function transferOwnership (
  client: SqlClient,
  old: Observation | undefined,
  ownershipTransfer: OwnershipTransfer,
  protect: () => Promise<void>
): Promise<void> {
  if (old === undefined) return protect()
  assertOver(old, ownershipTransfer)
  await protect()
  const { name, sequences, legacy, triggers, isObserved } = old
  const roles = Object.keys(legacy).map(quoteName).join(', ')
  if (isObserved) await client.query(`drop policy ${legacyPolicy} on ${name}`)
  for (const trigger of triggers) await client.query(`drop trigger ${trigger} on ${name}`)
  await client.query(`revoke all on ${name} from ${roles}`)
  for (const sequence of sequences) await client.query(`revoke all on sequence ${sequence} from ${roles}`)
}

function assertOver ({ name, legacy }: Observation, { isMeant, isForced }: OwnershipTransfer): void {
  if (!isMeant)
    throw new SetupInvalidError(
      `table ${name} is still worked on by ${
        Object.keys(legacy).map(role => `'${role}'`).join(', ')
      }: take it over in stages, with \`tenancy protect --stage prepare\` first`
    )
  const today = new Date().toISOString().slice(0, 10)
  const due = Object.entries(legacy).filter(([, day]) => day >= today)
  if (due.length === 0 || isForced) return
  throw new SetupInvalidError(
    `table ${name} is still worked on by ${
      due.map(([role, day]) => `'${role}' until ${day}`).join(', ')
    }: wait, or run the command with --yes`
  )
}
