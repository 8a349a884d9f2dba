import { tenantConflict, type TenantRecord } from '@fastify-tenancy/core'
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
 * What {@link Manager.import} makes a tenant from; `name`, `plan` and `settings` are the export's unless given. `id` is the export's
 * where nobody here ever had it, else a random uuid. Domains are not taken over.
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
  // Only one at a time: whoever finds a tenant here that is not ready knows that nobody is at work on it.
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

/** Writes the tenant down, after all that can be checked without it. */
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
  // Tables of the tenant's own are not there yet.
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

/** The tenant of an import that was cut short, and whether rows of it may be there. */
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
  // Its rows may be there already, and would be taken for those of this one.
  if (operation.input['export'] !== digestOf(manifest))
    throw tenantConflict(
      'an import of another export as this slug is not finished: import that one again, or delete the tenant first'
    )
  return { tenant: old, isBegun: true }
}

/** Which export it is: with its date, and the checksums of all its rows. */
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
    // It will never be ready: nothing is left of it.
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

// Rows in shared tables, too: a call that was cut short may have written them. Before the import there were none of this id.
async function undo (context: ManagerContext, tenant: TenantRecord): Promise<void> {
  await removeData(context, tenant)
  if (needsProvisioning(tenant, context.options)) await removeRole(context, tenant)
  await withClient(context.shards.get('default'), async client => {
    await client.query('delete from tenancy.migration_ledger where tenant_id = $1', [tenant.id])
    await abandonOperation(client, tenant.id)
    await forgetTenant(client, tenant.id)
  })
}
