import { idProblem, TenantConflictError, type TenantRecord } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { tenantIdentifier } from '@fastify-tenancy/core/keys'
import { inTransaction } from '@fastify-tenancy/postgres/client'
import { forgetTenant, postgresRegistry } from '@fastify-tenancy/postgres/registry'
import { listTables, tenantColumnTypes } from '@fastify-tenancy/postgres/tables'
import { randomUUID } from 'node:crypto'

import { tellChange } from '../context/announce-change.ts'
import type { ManagerContext } from '../context/context.ts'
import { slugLock } from '../context/locks.ts'
import { withClient } from '../context/shard-pools.ts'
import { customDomain } from '../domains/name.ts'
import { migrateTenant } from '../migrations/migrate-tenant.ts'
import { audit, changeTenant } from '../operations/audit.ts'
import { abandonOperation, openOperation } from '../operations/journal.ts'
import { runSteps, type OperationStep } from '../operations/run-steps.ts'
import { userSteps } from '../operations/user-steps.ts'
import { needsProvisioning, provisionTenant } from '../placement/provision.ts'
import { resolveCreateInput, type CreateInput } from './input.ts'
import { assertSlug } from './slug.ts'

export type ResolvedCreateInput = CreateInput & Required<Pick<CreateInput, 'isolation' | 'shard'>>

export async function createTenant (context: ManagerContext, told: CreateInput): Promise<TenantRecord> {
  const { options, shards, locks } = context
  const given = resolveCreateInput(told, 'create')
  const input: ResolvedCreateInput = {
    ...given,
    isolation: given.isolation ?? options.isolation,
    shard: given.shard ?? 'default'
  }
  assertSlug(input.slug, options)
  shards.logins(input.shard)
  if (input.isolation === 'rls' || input.isolation === 'row') await assertTables(context, input.shard)
  // Only one process creates a tenant of this slug at a time. So a tenant that is found unfinished
  // here was interrupted, and no other process works on it.
  return locks.hold(
    slugLock(input.slug),
    'a tenant of this slug is being created at this moment',
    async () => {
      const old = await leftOver(context, input)
      // Without steps, the record alone is the whole tenant, so it is inserted as active.
      if (old === undefined && !takesSteps(context, input)) return insertTenantRow(context, input, 'active')
      return runCreate(context, old ?? await insertTenantRow(context, input, 'provisioning'))
    }
  )
}

// Checks that a shard has the tenant tables. Not on the default shard, which may be set up in any
// order: a process that serves it checks its tables at boot.
async function assertTables (
  { options: { tables: listed }, shards }: ManagerContext,
  shard: string
): Promise<void> {
  if (shard === 'default') return
  await withClient(shards.get(shard), async client => {
    const { schema, tenant } = await listTables(client, listed)
    const { rows } = await client.query<{ name: string }>(
      `
      select name from unnest($2::text[]) name where not exists (
        select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = $1 and c.relname = name and c.relkind in ('r', 'p')
      ) order by 1`,
      [schema, Object.keys(tenant)]
    )
    if (rows.length > 0)
      throw tenantConflict(
        `shard '${shard}' does not have the tables ${
          rows.map(({ name }) => `'${name}'`).join(', ')
        }: run \`tenancy migrate\` first, then create the tenant`
      )
  })
}

/** Runs the steps from a tenant's record to an active tenant. Each step is idempotent. */
async function runCreate (context: ManagerContext, tenant: TenantRecord): Promise<TenantRecord> {
  const { options: { seed, steps }, registry, application } = context
  let isNameTaken = false
  const provision: OperationStep<object> = {
    name: 'provision',
    run: () =>
      provisionTenant(context, tenant).catch((error: unknown) => {
        isNameTaken = error instanceof TenantConflictError
        throw error
      })
  }
  const migrate: OperationStep<object> = { name: 'migrate', run: () => migrateTenant(context, tenant) }
  const fill: OperationStep<object> = {
    name: 'seed',
    run: () => application.asTenant(tenant, async db => seed?.({ tenant, db }))
  }
  const activate: OperationStep<object> = {
    name: 'activate',
    async run () {
      const now = await registry.findById(tenant.id) ?? tenant
      if (now.status === 'provisioning')
        await changeTenant(context, now, { status: 'active' }, 'create', describe(now))
    }
  }
  try {
    await runSteps(context, {
      tenant,
      kind: 'create',
      input: describe(tenant),
      state: {},
      steps: [provision, migrate, ...userSteps(steps, 'create', tenant),
        ...(seed === undefined ? [] : [fill]), activate]
    })
  } catch (error) {
    // Another tenant owns the name of the schema or database, so this creation can never succeed.
    if (isNameTaken) await forget(context, tenant.id)
    throw error
  }
  return await registry.findById(tenant.id) ?? tenant
}

function takesSteps ({ options }: ManagerContext, input: ResolvedCreateInput): boolean {
  return needsProvisioning(input, options) || options.seed !== undefined ||
    options.steps.some(({ create }) => create !== undefined)
}

/**
 * Returns a tenant of this slug whose creation was interrupted. Its isolation and shard must match,
 * because the record has its placement already.
 */
async function leftOver (
  { registry, shards }: ManagerContext,
  { id, slug, isolation, shard }: ResolvedCreateInput
): Promise<TenantRecord | undefined> {
  const old = await registry.findBySlug(slug)
  if (
    old === undefined || old.isolation !== isolation || old.placement.shard !== shard ||
    (id ?? old.id) !== old.id
  ) return undefined
  if (old.status === 'provisioning') return old
  // The creation was interrupted after its last step, before the journal recorded its end.
  const operation = old.status === 'active' ? await openOperation(shards.get('default'), old.id) : undefined
  return operation?.kind === 'create' ? old : undefined
}

export async function insertTenantRow (
  context: ManagerContext,
  input: ResolvedCreateInput,
  status: 'active' | 'provisioning'
): Promise<TenantRecord> {
  const { options, shards } = context
  const { id = randomUUID(), slug, isolation, shard, database, name, plan, settings, domains } = input
  assertSlug(slug, options)
  const inserted = await withClient(shards.get('default'), async client => {
    // The id is a value of every tenant column, so it must be valid for the columns' types.
    const idTypes = await tenantColumnTypes(client, options.tables)
    return inTransaction(client, async () => {
      const tenant = await postgresRegistry(client, { idTypes }).insert({
        id,
        slug,
        isolation,
        status,
        placement: {
          shard,
          // Stored, so that it stays valid if a later version derives another name. Skipped for an
          // invalid id, which the registry refuses with its reason.
          ...(isolation === 'schema' && idProblem(id) === undefined && { schema: tenantIdentifier(id) }),
          ...(isolation === 'database' && idProblem(id) === undefined &&
            { database: database ?? tenantIdentifier(id) })
        },
        ...(name !== undefined && { name }),
        ...(plan !== undefined && { plan }),
        ...(settings !== undefined && { settings }),
        ...(domains !== undefined &&
          { domains: domains.map(domain => customDomain(domain, options.domains.bases)) })
      })
      if (status === 'active') await audit(context, client, tenant.id, 'create', describe(tenant))
      return tenant
    })
  })
  // A process may have cached that no tenant has this slug.
  await tellChange(context, inserted)
  return inserted
}

async function forget ({ shards }: ManagerContext, id: string): Promise<void> {
  await withClient(shards.get('default'), async client => {
    await abandonOperation(client, id)
    await forgetTenant(client, id)
  })
}

// Omits the database, because `tenants.decrypt` may return a URL with a password from it.
function describe ({ slug, plan, isolation, placement: { shard, schema } }: TenantRecord): object {
  return { slug, plan, isolation, shard, ...(schema !== undefined && { schema }) }
}
