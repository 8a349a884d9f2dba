import type { TenantRecord } from '@fastify-tenancy/core'
import type { Manager, UnfinishedWork } from '@fastify-tenancy/manager'
import { readFile } from 'node:fs/promises'

/** A tenant's record with what the user should know about its state. */
export interface Noted extends TenantRecord {
  /** A move that was not confirmed or was cut short. */
  readonly move?: UnfinishedWork['move']
  /** A deletion whose data is still there. */
  readonly deletion?: UnfinishedWork['deletion']
  /** Whether the limits file has no entry for its plan, so that the default limits apply. */
  readonly hasUnknownPlan?: true
}

/** Adds each tenant's unfinished work, and whether the limits file has an entry for its plan. */
export async function noteTenants (
  tenants: readonly TenantRecord[],
  manager: Manager,
  plans: ReadonlySet<string> | undefined
): Promise<readonly Noted[]> {
  const unfinished = new Map((await manager.unfinished()).map(work => [work.tenant, work]))
  return tenants.map(tenant => {
    const { move, deletion } = unfinished.get(tenant.id) ?? {}
    return {
      ...tenant,
      ...(move !== undefined && { move }),
      ...(deletion !== undefined && { deletion }),
      ...(plans?.has(tenant.plan) === false && { hasUnknownPlan: true as const })
    }
  })
}

/** Returns the notes of one tenant, each a phrase. */
export function notesOf ({ slug, plan, move, deletion, hasUnknownPlan }: Noted): readonly string[] {
  return [
    ...(move === undefined ? [] : [move.isSwitched
      ? `moved from ${placeOf(move.from)}, not confirmed: tenancy move ${slug} --confirm`
      : `move to ${placeOf(move.to)} was cut short: tenancy move ${slug} --to ${
        placeOf(move.to)
      }, or --cancel`]),
    ...(deletion === undefined ? [] : [deletion.keepsData
      ? `may be purged from ${deletion.due.toISOString()}, and keeps its data`
      : `purge due ${deletion.due.toISOString()}`]),
    ...(hasUnknownPlan ? [unknownPlan(plan)] : [])
  ]
}

export function unknownPlan (plan: string): string {
  return `plan '${plan}' is not in the limits file: the default limits apply`
}

function placeOf ({ isolation, shard }: { readonly isolation: string; readonly shard: string }): string {
  return shard === 'default' ? isolation : `${isolation}:${shard}`
}

/**
 * Reads the names of the plans of a limits file.
 *
 * @param warn called if the file cannot be read, because then no plan is checked
 * @returns undefined without a file, or if it cannot be read
 */
export async function readPlans (
  file: string | undefined,
  warn: (line: string) => void
): Promise<ReadonlySet<string> | undefined> {
  if (file === undefined) return undefined
  try {
    // Imported here, because the package loads Fastify, which no other command needs.
    const { parseLimits } = await import('@fastify-tenancy/rate-limit')
    return new Set(parseLimits(await readFile(file, 'utf8'), file).plans.keys())
  } catch (error) {
    warn(
      `plans were not checked, because the limits file cannot be read: ${
        error instanceof Error ? error.message : String(error)
      }`
    )
    return undefined
  }
}
