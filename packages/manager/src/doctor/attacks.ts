import { quoteName, quoteText } from '@fastify-tenancy/postgres/client'
import type { Check, FindingRow } from '@fastify-tenancy/postgres/doctor'

import { plainContext, type Attacker, type AttackContext } from './attacker.ts'

/** Findings of the probe: attacks that succeeded. */
export const probeChecks: Readonly<Record<string, Check>> = {
  P01: { level: 'error', meaning: "the application's login reads it before any tenant is set" },
  P02: { level: 'error', meaning: "the role of tenants' statements reads it without a tenant" },
  P03: { level: 'error', meaning: 'a tenant that does not exist reads rows of it' },
  P04: { level: 'error', meaning: 'one statement took the role, which is not for its login' },
  P05: { level: 'error', meaning: "one statement took the login's own role and read it" },
  P06: { level: 'error', meaning: 'with row_security off, rows came instead of an error' },
  P07: { level: 'error', meaning: "the application's login changed the table itself, or emptied it" },
  P08: { level: 'warning', meaning: "the application's login made a table there" },
  P09: { level: 'info', meaning: "the application's login made a temporary table" },
  P10: { level: 'error', meaning: 'one statement named another tenant and read its rows' },
  P11: { level: 'error', meaning: "a tenant reads another's schema" },
  P12: { level: 'warning', meaning: 'the login of a tenant entered the database of another' },
  P13: { level: 'warning', meaning: 'the probe could not connect, and tried nothing' }
}

/** The targets of attacks. */
export interface Targets {
  /** Qualified and quoted, with tenant ids of the column's type. */
  readonly tenantTables: readonly TargetTable[]
  readonly shared: readonly string[]
  /** Tables of schema `tenancy` that only the owner may access. */
  readonly guarded: readonly string[]
  readonly schemas: readonly string[]
  /** Roles that the login must not be able to set. */
  readonly foreignRoles: readonly string[]
  /** Whether only the query rewriter separates tenants, without policies. */
  readonly isRewritten: boolean
}

export interface TargetTable {
  readonly name: string
  /** An id that no tenant has. */
  readonly stranger: string
  /** A tenant with rows in the table. */
  readonly victim: string | undefined
}

/**
 * INJ-17, RLS-01, RLS-06: reads relations without a tenant, and as a tenant that does not exist.
 */
export async function tryReading (
  attacker: Attacker,
  { tenantTables, shared, isRewritten }: Targets
): Promise<FindingRow[]> {
  const open = new Set([...shared, ...(isRewritten ? tenantTables.map(({ name }) => name) : [])])
  const rows: FindingRow[] = []
  const seen = new Set<string>()
  const stranger = new Map(tenantTables.map(table => [table.name, table.stranger]))
  const contexts: [string, (relation: string) => AttackContext][] = [
    ['P01', () => ({})],
    ['P02', () => ({ role: attacker.roles.app })],
    ['P03', relation => ({
      role: attacker.roles.app,
      tenant: stranger.get(relation) ?? tenantTables[0]?.stranger ?? 'nobody'
    })]
  ]
  for (const [id, contextOf] of contexts) {
    for (const relation of await attacker.readable(contextOf(''))) {
      if (open.has(relation) || seen.has(relation) || !await attacker.reads(contextOf(relation), relation))
        continue
      seen.add(relation)
      const fix = stranger.has(relation) && id !== 'P01'
        ? '-- fix the findings D101 to D110 of this relation'
        : `revoke all on table ${relation} from public, ${
          quoteName(id === 'P01' ? attacker.login : attacker.roles.app)
        }`
      rows.push({ id, object: `relation ${relation}`, fix })
    }
  }
  return rows
}

/** INJ-09, INJ-20: tries to set roles that a statement must not be able to set. */
export async function tryRoles (attacker: Attacker, { foreignRoles }: Targets): Promise<FindingRow[]> {
  return (await attacker.takes(foreignRoles)).map(role => ({
    id: 'P04',
    object: `role ${plainContext(role)}`,
    fix: `revoke ${quoteName(role)} from ${quoteName(attacker.login)}`
  }))
}

/**
 * INJ-11, INJ-20: reads the keys and the registry in one statement that first resets the role to
 * the login's own.
 */
export async function tryGuarded (attacker: Attacker, { guarded }: Targets): Promise<FindingRow[]> {
  const rows: FindingRow[] = []
  for (const relation of guarded) {
    const told = await attacker.attempt<{ read: string }>(
      { role: attacker.roles.app },
      `
      select pg_catalog.set_config('role', 'none', true),
        pg_catalog.query_to_xml($1, true, true, '')::text as read`,
      [`select 1 from ${relation} limit 1`]
    )
      ?? await attacker.attempt({}, `select 1 from ${relation} limit 1`)
    if (told !== undefined)
      rows.push({
        id: 'P05',
        object: `relation ${relation}`,
        fix: `revoke all on table ${relation} from public, ${quoteName(attacker.login)}`
      })
  }
  return rows
}

/** INJ-12: tries what only an owner may do. */
export async function tryTables (
  attacker: Attacker,
  { tenantTables, isRewritten }: Targets
): Promise<FindingRow[]> {
  const rows: FindingRow[] = []
  const as = { role: attacker.roles.app }
  for (const { name, stranger } of tenantTables) {
    const shown = isRewritten
      ? undefined
      : await attacker.attempt(
        { ...as, tenant: stranger, rowSecurity: 'off' },
        `select 1 from ${name} limit 1`
      )
    if (shown !== undefined)
      rows.push({
        id: 'P06',
        object: `relation ${name}`,
        fix: '-- fix the findings D101 to D110 of this relation'
      })
    for (const attack of [`truncate ${name}`, `alter table ${name} disable row level security`]) {
      if (!await attacker.may(as, attack) && !await attacker.may({}, attack)) continue
      rows.push({
        id: 'P07',
        object: `relation ${name}`,
        fix: `alter table ${name} owner to ${
          quoteName(attacker.roles.owner)
        }; revoke truncate on ${name} from public, ${quoteName(attacker.roles.app)}, ${
          quoteName(attacker.login)
        }`
      })
      break
    }
  }
  return rows
}

/** Tries CREATE and TEMP. */
export async function tryCreating (attacker: Attacker, { schemas }: Targets): Promise<FindingRow[]> {
  const rows: FindingRow[] = []
  const makes = async (text: string): Promise<boolean> =>
    await attacker.attempt({ role: attacker.roles.app }, text) !== undefined ||
    await attacker.attempt({}, text) !== undefined
  for (const schema of schemas) {
    if (await makes(`create table ${quoteName(schema)}.tenancy_probe (n int)`)) {
      rows.push({
        id: 'P08',
        object: `schema ${plainContext(schema)}`,
        fix: `revoke create on schema ${quoteName(schema)} from public, ${quoteName(attacker.roles.app)}, ${
          quoteName(attacker.login)
        }`
      })
    }
  }
  if (await makes('create temporary table tenancy_probe (n int)'))
    rows.push({ id: 'P09', object: 'temporary tables', fix: '-- tenancy init --harden' })
  return rows
}

/** INJ-03, INJ-04, INJ-06: sets another tenant in the same statement that reads. */
export async function tryNaming (
  attacker: Attacker,
  { tenantTables, isRewritten }: Targets
): Promise<FindingRow[]> {
  const rows: FindingRow[] = []
  for (const { name, stranger, victim } of isRewritten ? [] : tenantTables) {
    if (victim === undefined) continue
    const as = { role: attacker.roles.app, tenant: stranger }
    const named = `pg_catalog.set_config('tenancy.tenant', ${quoteText(victim)}, true)`
    const xml = await attacker.attempt<{ read: string }>(
      as,
      `select ${named}, pg_catalog.query_to_xml($1, true, true, '')::text as read`,
      [`select 1 as hit from ${name} limit 1`]
    )
    const lateral = await attacker.attempt(
      as,
      `
      with named as materialized (select ${named} as tenant)
      select 1 from named
      cross join lateral (select 1 from ${name} where named.tenant is not null limit 1) hit`
    )
    if (xml?.[0]?.read.includes('hit') !== true && (lateral ?? []).length === 0) continue
    // Without signed contexts this is the documented behaviour.
    rows.push({
      id: 'P10',
      object: `relation ${name}`,
      fix: attacker.isSigned
        ? '-- fix the findings D101 to D110 of this relation'
        : '-- set rls.secret, then run tenancy init and tenancy protect',
      ...(!attacker.isSigned && { level: 'info' })
    })
  }
  return rows
}
