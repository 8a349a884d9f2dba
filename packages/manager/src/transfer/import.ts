import type { TenantRecord } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { forgetTenant } from '@fastify-tenancy/postgres/registry'
import { createHash, randomUUID } from 'node:crypto'

import type { ManagerContext } from '../context/context.ts'
import { slugLock } from '../context/locks.ts'
import { withClient } from '../context/shard-pools.ts'
import { insertTenantRow, type ResolvedCreateInput } from '../lifecycle/create.ts'
import { resolveCreateInput, type CreateInput } from '../lifecycle/input.ts'
import { assertSlug } from '../lifecycle/slug.ts'
import { migrateTenant } from '../migrations/migrate-tenant.ts'
import { changeTenant } from '../operations/audit.ts'
import { findTenant } from '../operations/find.ts'
import { abandonOperation, openOperation } from '../operations/journal.ts'
import { runSteps } from '../operations/run-steps.ts'
import { userSteps } from '../operations/user-steps.ts'
import { needsProvisioning, provisionTenant } from '../placement/provision.ts'
import { withPlacement } from '../placement/tenant-placement.ts'
import { removeData, removeRole } from '../removal/remove-placement.ts'
import { ImportRefusedError } from '../tenant-rows/errors.ts'
import { assertFits, importRows } from '../tenant-rows/import-rows.ts'
import type { Manifest } from '../tenant-rows/manifest.ts'
import { readExport, type Export } from '../tenant-rows/read-export.ts'

/**
 * Input of {@link Manager.import}. `name`, `plan` and `settings` default to the export's. `id`
 * defaults to the export's id if no tenant here ever had it, else to a random uuid. Domains are not
 * imported.
 */
export type ImportInput = CreateInput

export async function importTenant (
  context: ManagerContext,
  folder: string,
  told: ImportInput
): Promise<TenantRecord> {
  const { options, shards, locks } = context
  const input = resolveCreateInput(told, 'import')
  assertSlug(input.slug, options)
  shards.logins(input.shard ?? 'default')
  const source = await readExport(
    folder,
    ({ name, rows: total }, done) =>
      options.progress?.({ operation: 'import', step: `check ${name}`, done, total })
  )
  // Only one process creates a tenant of this slug at a time. So a tenant that is found unfinished
  // here was interrupted, and no other process works on it.
  return locks.hold(
    slugLock(input.slug),
    'a tenant of this slug is being created at this moment',
    async () => {
      const old = await leftOver(context, input, source)
      return runImport(
        context,
        old?.isBegun ? old.tenant : await begin(context, input, source, old?.tenant),
        source
      )
    }
  )
}

/** Inserts the tenant's record, after all checks that are possible without it. */
async function begin (
  context: ManagerContext,
  given: ImportInput,
  source: Export,
  old?: TenantRecord
): Promise<TenantRecord> {
  if (old === undefined && await context.registry.findBySlug(given.slug) !== undefined)
    throw tenantConflict('the slug is taken')
  const input = await resolve(context, given, source.manifest)
  const { id = '', isolation, shard, ...rest } = input
  const placement = old ?? { id, isolation, placement: { shard } }
  // Not for strategies `schema` and `database`, whose tables do not exist yet.
  if (isolation === 'rls' || isolation === 'row')
    await withPlacement(context, placement, placement => assertFits(context, placement, source))
  return old ?? insertTenantRow(context, { ...rest, id, isolation, shard }, 'provisioning')
}

async function resolve (
  { options, shards }: ManagerContext,
  input: ImportInput,
  { tenant: { id, name, plan, settings } }: Manifest
): Promise<ResolvedCreateInput> {
  const isFree =
    (await shards.get('default').query('select from tenancy.names where name = $1', [id])).rows.length === 0
  return {
    name,
    plan,
    settings,
    ...input,
    id: input.id ?? (isFree ? id : randomUUID()),
    isolation: input.isolation ?? options.isolation,
    shard: input.shard ?? 'default'
  }
}

/** Returns the tenant of an interrupted import, and whether its rows may be written already. */
async function leftOver (
  { registry, shards, options }: ManagerContext,
  { slug, id, isolation = options.isolation, shard = 'default' }: ImportInput,
  { manifest }: Export
): Promise<{ readonly tenant: TenantRecord; readonly isBegun: boolean } | undefined> {
  const old = await registry.findBySlug(slug)
  if (
    old === undefined || old.isolation !== isolation || old.placement.shard !== shard ||
    (id ?? old.id) !== old.id
  ) return undefined
  const operation = await openOperation(shards.get('default'), old.id)
  if (operation === undefined)
    return old.status === 'provisioning'
      ? { tenant: old, isBegun: false }
      : undefined
  if (operation.kind !== 'import') return undefined
  // Its rows may be written already, and would be mistaken for rows of this export.
  if (operation.input['export'] !== digestOf(manifest))
    throw tenantConflict(
      'the import of another export with this slug is not finished: import that export again, ' +
        'or delete the tenant first'
    )
  return { tenant: old, isBegun: true }
}

/**
 * Returns a hash that identifies an export: the manifest has its date and the checksums of all
 * rows.
 */
function digestOf (manifest: Manifest): string {
  return createHash('sha256').update(JSON.stringify(manifest)).digest('hex')
}

async function runImport (
  context: ManagerContext,
  tenant: TenantRecord,
  source: Export
): Promise<TenantRecord> {
  const { id } = tenant
  try {
    await runSteps(context, {
      tenant,
      kind: 'import',
      input: {
        slug: tenant.slug,
        from: source.manifest.tenant.slug,
        isolation: tenant.isolation,
        shard: tenant.placement.shard,
        export: digestOf(source.manifest)
      },
      state: {},
      steps: [
        { name: 'provision', run: () => provisionTenant(context, tenant) },
        { name: 'migrate', run: () => migrateTenant(context, tenant) },
        {
          name: 'rows',
          run: () => withPlacement(context, tenant, placement => importRows(context, placement, source))
        },
        ...userSteps(context.options.steps, 'create', tenant),
        { name: 'activate', run: () => activate(context, id) }
      ]
    })
  } catch (error) {
    // The import can never succeed, so remove what it created.
    if (error instanceof ImportRefusedError) await undo(context, tenant)
    throw error
  }
  return findTenant(context, { id })
}

async function activate (context: ManagerContext, id: string): Promise<void> {
  const now = await findTenant(context, { id })
  if (now.status === 'provisioning')
    await changeTenant(context, now, { status: 'active' }, 'import', { slug: now.slug })
}

// Also removes rows from tenant tables, which an interrupted call may have written. Before the
// import, no rows had this id.
async function undo (context: ManagerContext, tenant: TenantRecord): Promise<void> {
  await removeData(context, tenant)
  if (needsProvisioning(tenant, context.options)) await removeRole(context, tenant)
  await withClient(context.shards.get('default'), async client => {
    await client.query('delete from tenancy.migration_ledger where tenant_id = $1', [tenant.id])
    await abandonOperation(client, tenant.id)
    await forgetTenant(client, tenant.id)
  })
}
