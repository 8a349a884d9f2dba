import { OptionInvalidError, TenantUnknownError, type TenantRecord,
  type TenantRef } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { isConnectError } from '@fastify-tenancy/postgres/client'
import { assertNotNewer } from '@fastify-tenancy/postgres/install'
import { schemaOf } from '@fastify-tenancy/postgres/placement'

import type { ManagerContext } from '../context/context.ts'
import type { ResolvedMigrateInput } from '../context/migrations-options.ts'
import { withoutPasswords } from '../operations/journal.ts'
import { compareLedger, type LedgerState } from './compare.ts'
import { Connection } from './connection.ts'
import { MigrationInvalidError } from './errors.ts'
import { foreignProblem, ranElsewhere } from './kysely-history.ts'
import { readEntry, readLedger, sharedSet, type LedgerEntry } from './ledger.ts'
import { hasOwnTables } from './migrate-tenant.ts'
import { shardSource, tenantTarget } from './migration-target.ts'
import { readMigrations, type LoadedMigration } from './read-migrations.ts'

/**
 * The available migrations of both sets; undefined if the options have none, or the caller did not
 * ask for them.
 */
export interface Sets {
  readonly shared: readonly LoadedMigration[] | undefined
  readonly tenant: readonly LoadedMigration[] | undefined
}

/** Applied migrations of a shard's shared set. */
export interface ShardState extends LedgerState {
  readonly shard: string
  readonly entry: LedgerEntry
}

/**
 * Applied migrations of a tenant's own tables. For strategy `database`, from the default shard's
 * copy of the ledger.
 */
export interface TenantState extends LedgerState {
  readonly tenant: TenantRecord
  readonly entry: LedgerEntry
}

export interface Plan {
  readonly shared: readonly ShardState[]
  /** Ordered by shard, then by id. */
  readonly tenants: readonly TenantState[]
  /** Shards that are unreachable. `shared` and `tenants` do not include them. */
  readonly unreachable: readonly UnreachableShard[]
}

/** An unreachable shard, and its tenants, whose state is unknown. */
interface UnreachableShard {
  readonly shard: string
  readonly error: Error
  readonly tenants: readonly TenantRecord[]
}

const nothing: LedgerEntry = { applied: [], failure: undefined }

/**
 * Loads the migrations of the sets.
 *
 * @throws FST_TENANCY_OPTION_INVALID if the options have no migrations
 */
export async function readSets (
  { options: { migrations } }: ManagerContext,
  set?: 'shared' | 'tenant'
): Promise<Sets> {
  const [shared, tenant] = [set === 'tenant' ? undefined : migrations.shared,
    set === 'shared' ? undefined : migrations.tenant]
  if (shared === undefined && tenant === undefined) {
    throw new OptionInvalidError(
      `options.migrations${
        set === undefined ? '' : `.${set}`
      } is required to migrate: set it to a folder, such as './migrations/${set ?? 'shared'}'`
    )
  }
  return {
    shared: shared === undefined ? undefined : await readMigrations(shared),
    tenant: tenant === undefined ? undefined : await readMigrations(tenant)
  }
}

/**
 * Reads the ledgers, with one statement for each shard. An unreachable shard does not prevent
 * reading the others.
 */
export async function makePlan (
  context: ManagerContext,
  connection: Connection,
  { shared, tenant: own }: Sets,
  tenants: readonly TenantRecord[]
): Promise<Plan> {
  const shards = shared === undefined ? [] : context.shards.names
  const places = new Set([...shards, ...(own === undefined ? [] : tenants.map(ledgerShard))])
  const ledgers = new Map<string, Map<string, LedgerEntry>>()
  const errors = new Map<string, Error>()
  const histories = new Map<string, ReadonlySet<string>>()
  const few = own === undefined || tenants.length < 100
    ? [sharedSet, ...tenants.map(({ id }) => id)]
    : undefined
  for (const shard of places) {
    try {
      ledgers.set(shard, await readShard(context, connection, shard, few))
      if (own !== undefined) histories.set(shard, await schemasWithHistory(context, connection, shard))
    } catch (error) {
      if (!isConnectError(error)) throw error
      errors.set(shard, error)
    }
  }
  const states: TenantState[] = []
  for (const tenant of own === undefined ? [] : tenants.filter(tenant => ledgers.has(ledgerShard(tenant)))) {
    const entry = ledgers.get(ledgerShard(tenant))?.get(tenant.id) ?? nothing
    const state = { tenant, entry, ...compareLedger(entry.applied, own ?? []) }
    const isForeign = tenant.isolation === 'schema' && state.pending.length > 0 &&
      histories.get(tenant.placement.shard)?.has(schemaOf(tenant)) === true
    states.push(isForeign ? await withHistory(context, connection, state) : state)
  }
  return {
    shared: shared === undefined ? [] : shards.filter(shard => ledgers.has(shard)).map(shard => {
      const entry = ledgers.get(shard)?.get(sharedSet) ?? nothing
      return { shard, entry, ...compareLedger(entry.applied, shared) }
    }),
    tenants: states,
    unreachable: Array.from(errors, ([shard, error]) => ({
      shard,
      error,
      tenants: tenants.filter(tenant => ledgerShard(tenant) === shard)
    }))
  }
}

// Most schemas have no history, so the usual cost is one catalog query.
async function schemasWithHistory (
  context: ManagerContext,
  connection: Connection,
  shard: string
): Promise<ReadonlySet<string>> {
  return connection.use(shardSource(context, shard), async client => {
    const { rows } = await client.query<{ schema: string }>(
      `
      select n.nspname::text as schema
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.relname = 'kysely_migration'`
    )
    return new Set(rows.map(({ schema }) => schema))
  })
}

async function withHistory (
  context: ManagerContext,
  connection: Connection,
  state: TenantState
): Promise<TenantState> {
  const { tenant, pending } = state
  const found = await connection.use(
    shardSource(context, tenant.placement.shard),
    client => ranElsewhere(client, schemaOf(tenant), pending)
  )
  return found === undefined
    ? state
    : { ...state, problem: state.problem ?? foreignProblem(found, tenant.id) }
}

// The default shard has a copy of the ledger of a tenant's own database.
function ledgerShard ({ isolation, placement }: TenantRecord): string {
  return isolation === 'database' ? 'default' : placement.shard
}

async function readShard (
  context: ManagerContext,
  connection: Connection,
  shard: string,
  tenants: readonly string[] | undefined
): Promise<Map<string, LedgerEntry>> {
  return connection.use(shardSource(context, shard), async client => {
    const { rows: [row] } = await client.query<{ there: boolean }>(
      "select pg_catalog.to_regclass('tenancy.migration_ledger') is not null as there"
    )
    if (row?.there !== true)
      throw new SetupInvalidError(
        `the database of shard '${shard}' is not initialised, or by an older version: run \`tenancy init\``
      )
    await assertNotNewer(client)
    return readLedger(client, tenants)
  }, shard)
}

/**
 * Replaces the default shard's copies of ledgers by the ledgers of the tenants' own databases.
 *
 * @param jobs number of databases read at once
 */
export async function withOwnLedgers (
  context: ManagerContext,
  plan: Plan,
  migrations: readonly LoadedMigration[],
  jobs: number
): Promise<Plan> {
  const tenants = [...plan.tenants]
  const apart = tenants.map((state, index) => ({ state, index })).filter(({ state }) =>
    state.tenant.isolation === 'database'
  )
  await Promise.all(Array.from({ length: Math.min(jobs, apart.length) }, async () => {
    const connection = new Connection()
    try {
      for (let next = apart.shift(); next !== undefined; next = apart.shift())
        tenants[next.index] = await readOwn(context, connection, next.state, migrations)
    } finally {
      await connection.close()
    }
  }))
  return { ...plan, tenants }
}

async function readOwn (
  context: ManagerContext,
  connection: Connection,
  state: TenantState,
  migrations: readonly LoadedMigration[]
): Promise<TenantState> {
  const { tenant } = state
  try {
    const { source } = await tenantTarget(context, tenant)
    const entry = await connection.use(source, async client => {
      const { rows: [row] } = await client.query<{ there: boolean }>(
        "select pg_catalog.to_regclass('tenancy.migration_ledger') is not null as there"
      )
      return row?.there === true ? readEntry(client, tenant.id) : nothing
    })
    // Failures are recorded in the default shard's copy.
    return {
      tenant,
      entry: { ...entry, failure: entry.failure ?? state.entry.failure },
      ...compareLedger(entry.applied, migrations)
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return {
      ...state,
      problem: state.problem ??
        withoutPasswords(`its database cannot be read (${why}): this state is from the last run`)
    }
  }
}

/**
 * Returns the tenants to migrate, ordered by shard and then by id.
 *
 * @throws FST_TENANCY_TENANT_UNKNOWN
 * @throws FST_TENANCY_TENANT_CONFLICT for a tenant that has no tables of its own or is not active
 */
export async function listMeant (
  context: ManagerContext,
  { only, schema }: Pick<ResolvedMigrateInput, 'only' | 'schema'>
): Promise<TenantRecord[]> {
  if (only !== undefined) return Promise.all(only.map(ref => findOne(context, ref)))
  const all: TenantRecord[] = []
  for (const isolation of ['schema', 'database'] as const) {
    if (schema !== undefined && isolation === 'database') continue
    for await (const tenant of context.registry.list({ isolation, status: ['active', 'suspended'] }))
      all.push(tenant)
  }
  const meant = schema === undefined ? all : all.filter(tenant => schemaOf(tenant) === schema)
  if (schema !== undefined && meant.length === 0)
    throw new TenantUnknownError(`no tenant that is active or suspended has the schema '${schema}'`)
  return meant.toSorted((a, b) => order(a.placement.shard, b.placement.shard) || order(a.id, b.id))
}

export async function findOne ({ registry }: ManagerContext, ref: TenantRef): Promise<TenantRecord> {
  const tenant = 'id' in ref ? await registry.findById(ref.id) : await registry.findBySlug(ref.slug)
  if (tenant === undefined)
    throw new TenantUnknownError(`there is no tenant '${'id' in ref ? ref.id : ref.slug}'`)
  if (!hasOwnTables(tenant))
    throw tenantConflict(
      `tenant '${tenant.slug}' has no tables of its own: its tables are migrated by the shared set`
    )
  if (tenant.status === 'provisioning')
    throw tenantConflict(`tenant '${tenant.slug}' is being created: create it again to finish that`)
  if (tenant.status !== 'active' && tenant.status !== 'suspended')
    throw tenantConflict(`tenant '${tenant.slug}' is ${tenant.status}: it is not migrated any more`)
  return tenant
}

/**
 * Refuses a plan in which some ledger does not match, so that nothing runs.
 *
 * @throws FST_TENANCY_MIGRATION_INVALID
 */
export function assertSound ({ shared, tenants }: Plan): void {
  const [inShard] = shared.filter(({ problem }) => problem !== undefined)
  if (inShard !== undefined)
    throw new MigrationInvalidError(`${inShard.problem} (shared tables of shard '${inShard.shard}')`)
  const wrong = tenants.filter(({ problem }) => problem !== undefined)
  const [first] = wrong
  if (first !== undefined)
    throw new MigrationInvalidError(
      `${first.problem} (tenant '${first.tenant.slug}'${
        wrong.length > 1 ? ` and ${wrong.length - 1} more` : ''
      })`
    )
}

function order (a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
