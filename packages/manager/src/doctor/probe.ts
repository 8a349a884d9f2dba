import { tenantRole } from '@fastify-tenancy/core/keys'
import { GuardedClient, quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'
import { toFinding, type Finding, type FindingRow } from '@fastify-tenancy/postgres/doctor'
import { resolveTenantUrl, schemaOf } from '@fastify-tenancy/postgres/placement'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import type { ResolvedTables } from '@fastify-tenancy/postgres/tables'
import { randomUUID } from 'node:crypto'
import type pg from 'pg'

import type { ManagerContext } from '../context/context.ts'
import { Attacker, plainContext } from './attacker.ts'
import { probeChecks, tryCreating, tryGuarded, tryNaming, tryReading, tryRoles, tryTables, type Targets,
  type TargetTable } from './attacks.ts'
import type { PlacedTenant } from './registered.ts'

interface ProbeInput {
  /** The owner's connection, which finds the targets. */
  readonly client: SqlClient
  readonly shard: string
  readonly tables: ResolvedTables
  /** The shard's tenants that have objects of their own in its catalog. */
  readonly tenants: readonly PlacedTenant[]
  /** Whether some tenant has strategy `rls`. */
  readonly hasRls: boolean
}

/** Tries attacks on one shard with the application's own login. Every attack is rolled back. */
export async function probe (context: ManagerContext, input: ProbeInput): Promise<Finding[]> {
  const { rls } = context.options
  const findings: FindingRow[] = []
  const { url, tenantRolesUrl, globalUrl } = context.shards.logins(input.shard)
  const attackAs = (
    source: string | pg.Pool,
    use: Use,
    work: (attacker: Attacker, targets: Targets) => Promise<FindingRow[]>
  ): Promise<void> =>
    connected(context, input, findings, source, async client => {
      const { rows: [session] } = await client.query<{ login: string; database: string }>(
        'select session_user::text as login, pg_catalog.current_database()::text as database'
      )
      if (session === undefined) throw new TypeError('the session has no user')
      const attacker = new Attacker({ client, ...session, secret: rls.secrets[0] })
      findings.push(...await work(attacker, await findTargets(context, input, session, use)))
    })
  const schemas = (attacker: Attacker): Promise<FindingRow[]> => trySchemas(attacker, input)
  await attackAs(url, tenantRolesUrl === undefined ? 'all' : 'app', async (attacker, targets) => {
    const rows: FindingRow[] = []
    for (const attack of [tryReading, tryRoles, tryGuarded, tryTables, tryCreating, tryNaming])
      rows.push(...await attack(attacker, targets))
    return tenantRolesUrl === undefined ? [...rows, ...await schemas(attacker)] : rows
  })
  if (tenantRolesUrl !== undefined)
    await attackAs(
      tenantRolesUrl,
      'tenantRoles',
      async (attacker, targets) => [...await tryRoles(attacker, targets), ...await schemas(attacker)]
    )
  if (globalUrl !== undefined) await attackAs(globalUrl, 'global', tryRoles)
  if (input.shard === 'default') findings.push(...await tryDatabases(context, input.tenants))
  return findings.map(row => toFinding(row, probeChecks))
}

/** The purpose of a login; `'all'` if the application has a single login for its tenants. */
type Use = 'all' | 'app' | 'tenantRoles' | 'global'

async function connected (
  { shards }: ManagerContext,
  { client, shard }: ProbeInput,
  findings: FindingRow[],
  url: string | pg.Pool,
  work: (client: SqlClient) => Promise<void>
): Promise<void> {
  // An application with one connection for everything attacks with that connection.
  if (shards.get(shard) === url || (typeof url === 'string' && url.startsWith('pglite:'))) return work(client)
  const source = typeof url === 'string' ? url : url.options.connectionString
  if (source === undefined) return work(client)
  const own = new GuardedClient({ connectionString: source, application_name: 'tenancy doctor' })
  own.on('error', () => {})
  try {
    await own.connect()
  } catch (error) {
    findings.push({
      id: 'P13',
      object: 'options.database.url',
      fix: '-- let the login connect',
      says: error instanceof Error ? error.message : String(error)
    })
    return
  }
  try {
    await work(own)
  } finally {
    await own.end()
  }
}

async function findTargets (
  { options }: ManagerContext,
  { client, tables, hasRls }: ProbeInput,
  { login, database }: { login: string; database: string },
  use: Use
): Promise<Targets> {
  const { app, shared, global } = rolesOf(database)
  // Up to PostgreSQL 15, a member of a tenant's role can also set the roles of which that role is a
  // member.
  const groups = { all: [app, shared], app: [app], tenantRoles: [app, shared], global: [global] }[use]
  const names = async (text: string, values?: unknown[]): Promise<string[]> =>
    (await client.query<{ name: string }>(text, values)).rows.map(({ name }) => name)
  return {
    tenantTables: await findTables(client, tables),
    shared: tables.shared.map(name => `${plainContext(tables.schema)}.${plainContext(name)}`),
    guarded: await names(
      `
      select pg_catalog.format('%I.%I', 'tenancy', relname) as name from pg_catalog.pg_class
      where relnamespace = pg_catalog.to_regnamespace('tenancy')::oid and relkind = 'r' order by 1`
    ),
    schemas: await names(
      `
      select nspname::text as name from pg_catalog.pg_namespace
      where nspname !~ '^pg_(toast|temp)' order by 1 limit 1000`
    ),
    foreignRoles: await names(
      `
      select rolname::text as name from pg_catalog.pg_roles r
      where rolname <> all($1) and not ($2 and rolname ~ '^tenanth?_' and exists (
        select from pg_catalog.pg_auth_members m join pg_catalog.pg_roles g on g.oid = m.roleid
        where m.member = r.oid and g.rolname = any($3)))
      order by rolsuper desc, 1 limit 1000`,
      [[login, ...groups], use === 'all' || use === 'tenantRoles', [app, shared]]
    ),
    isRewritten: options.isolation === 'row' && !hasRls
  }
}

const strangers: Readonly<Record<string, () => string>> = {
  uuid: randomUUID,
  int4: () => '-2147483647',
  int8: () => '-9223372036854775807',
  text: () => `nobody-${randomUUID()}`
}

async function findTables (client: SqlClient, { schema, tenant }: ResolvedTables): Promise<TargetTable[]> {
  const { rows } = await client.query<{ name: string; column: string | null; type: string }>(
    `
    select pg_catalog.format('%I.%I', n.nspname, c.relname) as name,
      pg_catalog.quote_ident(a.attname) as column, coalesce(t.typname, 'text')::text as type
    from pg_catalog.jsonb_each_text($2) listed (name, column_name)
    join pg_catalog.pg_namespace n on n.nspname = $1
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = listed.name
    left join pg_catalog.pg_attribute a
      on a.attrelid = c.oid and a.attname = listed.column_name and not a.attisdropped
    left join pg_catalog.pg_type t on t.oid = a.atttypid
    order by 1`,
    [schema, JSON.stringify(tenant)]
  )
  const tables: TargetTable[] = []
  for (const { name, column, type } of rows) {
    const { rows: [row] } = column === null
      ? { rows: [] }
      : await client.query<{ id: string | null }>(
        `select ${column}::text as id from ${name} where ${column} is not null limit 1`
      ).catch(() => ({ rows: [] }))
    tables.push({
      name,
      stranger: (strangers[type] ?? strangers.text as () => string)(),
      victim: row?.id ?? undefined
    })
  }
  return tables
}

/** SCH-04: reads the schema of one tenant with the role of another. */
async function trySchemas (
  attacker: Attacker,
  { client, shard, tenants }: ProbeInput
): Promise<FindingRow[]> {
  const { database } = attacker
  const [one, other] = tenants.filter(tenant =>
    tenant.isolation === 'schema' && tenant.shard === shard &&
    (tenant.status === 'active' || tenant.status === 'suspended')
  )
  if (one === undefined || other === undefined) return []
  const schema = schemaOf({
    id: other.id,
    placement: { shard, ...(other.schema !== null && { schema: other.schema }) }
  })
  const { rows: [table] } = await client.query<{ name: string }>(
    `
    select pg_catalog.format('%I.%I', schemaname, tablename) as name from pg_catalog.pg_tables
    where schemaname = $1 order by tablename limit 1`,
    [schema]
  )
  if (table === undefined) return []
  const as = { role: tenantRole(one.id, database) }
  const read = `select 1 from ${table.name} limit 1`
  if (await attacker.attempt(as, read) !== undefined)
    return [{
      id: 'P11',
      object: `schema ${plainContext(schema)}`,
      fix: '-- fix the findings D412 of this schema'
    }]
  // A login's member roles can be set by an injected statement, as documented for this strategy.
  const taken = await attacker.attempt(
    as,
    "select pg_catalog.set_config('role', $1, true), pg_catalog.query_to_xml($2, true, true, '')",
    [tenantRole(other.id, database), read]
  )
  return taken === undefined
    ? []
    : [{
      id: 'P11',
      object: 'strategy schema',
      level: 'info',
      fix: '-- use strategy database, or rls with a secret, for tenants whose SQL you do not trust',
      says: "one statement took another tenant's role"
    }]
}

/** Connects to the database of one tenant with the login of another. */
async function tryDatabases (
  { registry, options: { database: { tenants: settings } } }: ManagerContext,
  tenants: readonly PlacedTenant[]
): Promise<FindingRow[]> {
  if (settings === undefined) return []
  const urls: string[] = []
  for (
    const { id } of tenants.filter(({ isolation, status }) => isolation === 'database' && status === 'active')
      .slice(0, 2)
  ) {
    const tenant = await registry.findById(id)
    const url = tenant === undefined ? undefined : await resolveTenantUrl(tenant, settings)
    if (typeof url === 'string' && url.startsWith('postgres')) urls.push(url)
  }
  const [one, other] = urls
  return one === undefined || other === undefined ? [] : enterDatabase(new URL(one), new URL(other))
}

async function enterDatabase (login: URL, { pathname, host }: URL): Promise<FindingRow[]> {
  const client = new GuardedClient({ connectionString: Object.assign(login, { pathname, host }).href })
  client.on('error', () => {})
  try {
    await client.connect()
  } catch {
    return []
  }
  await client.end()
  const name = decodeURIComponent(pathname.slice(1))
  return [{
    id: 'P12',
    object: `database ${plainContext(name)}`,
    fix: `revoke connect on database ${quoteName(name)} from public`
  }]
}
