import { TenantUnknownError, type TenantRef } from '@fastify-tenancy/core'
import { checkOptions, duration } from '@fastify-tenancy/core/options'
import { resolveTenantRef } from '@fastify-tenancy/core/scope'
import * as v from 'valibot'

import type { ManagerContext } from '../context/context.ts'

/** Selects the entries that {@link Manager.audit} returns. */
export interface AuditInput {
  /** The tenant of the entries, which may be purged. @default all tenants */
  readonly tenant?: TenantRef
  /** Maximum age of an entry: `'7d'`. @default any age */
  readonly since?: string
}

/** A row of `tenancy.audit`. */
export interface AuditEntry {
  readonly at: Date
  /** The tenant's id; `''` if the entry concerns no tenant. */
  readonly tenant: string
  /**
   * The tenant's current slug. Undefined if the tenant is deleted or the entry concerns no tenant.
   */
  readonly slug?: string
  /** The action: `create`, `suspend`, `restore`… */
  readonly action: string
  /** The login of the action, or the actor of `manager.as()`; the login is then `details.login`. */
  readonly actor: string
  readonly details: Readonly<Record<string, unknown>>
}

const schema = v.strictObject({
  tenant: v.optional(v.custom<TenantRef>(value => typeof value === 'object' && value !== null)),
  since: v.optional(duration)
}, 'must be an object')

const pageSize = 500

/**
 * Yields audit entries, the oldest first. Reads them page by page.
 *
 * ```sql
 * select … from tenancy.audit where id > $1 and tenant_id = $2 order by id limit 500
 * ```
 *
 * @throws FST_TENANCY_TENANT_UNKNOWN for a slug that no tenant has
 */
export async function* readAudit (
  { shards, registry }: ManagerContext,
  input: AuditInput
): AsyncGenerator<AuditEntry> {
  const { tenant, since } = checkOptions(schema, input, 'audit')
  const id = tenant && await idOf(registry, resolveTenantRef(tenant))
  // Computed once, so that all pages use the same time.
  const from = since === undefined ? null : new Date(Date.now() - since)
  for (let after = '0';;) {
    const { rows } = await shards.get('default').query<Row>(
      `
      select entry.id::text as key, entry.at::text, entry.tenant_id as tenant, tenants.slug,
        entry.action, entry.actor,
        entry.details::text
      from (select * from tenancy.audit where id > $1
        ${id === undefined ? '' : 'and tenant_id = $3'} and ($2::timestamptz is null or at >= $2)
        order by id limit ${pageSize}) entry
      left join tenancy.tenants on tenants.id = entry.tenant_id and tenants.status <> 'deleted'
      order by entry.id`,
      [after, from, ...(id === undefined ? [] : [id])]
    )
    for (const { at, tenant, slug, action, actor, details } of rows) {
      yield {
        at: new Date(at),
        tenant,
        ...(slug !== null && { slug }),
        action,
        actor,
        details: JSON.parse(details) as Record<string, unknown>
      }
    }
    if (rows.length < pageSize) return
    after = rows.at(-1)?.key ?? after
  }
}

interface Row {
  readonly key: string
  readonly at: string
  readonly tenant: string
  readonly slug: string | null
  readonly action: string
  readonly actor: string
  readonly details: string
}

// Entries outlive their tenant, so an id needs no registry record.
async function idOf (registry: ManagerContext['registry'], ref: TenantRef): Promise<string> {
  if ('id' in ref) return ref.id
  const tenant = await registry.findBySlug(ref.slug)
  if (tenant === undefined)
    throw new TenantUnknownError(`there is no tenant ${ref.slug}: name a purged one as id:…`)
  return tenant.id
}
