import { OptionInvalidError, type TenantRecord } from '@fastify-tenancy/core'
import type { Manager, MigrationState, MigrationStatus } from '@fastify-tenancy/manager'

import { html, type Html } from '../html/html.ts'
import { Recent, type KnownReading } from '../data/recent.ts'

/** How far the migrations have come, by shard and by tenant. Empty where the manager has none. */
export interface Migrations {
  readonly shards: ReadonlyMap<string, MigrationState>
  readonly tenants: ReadonlyMap<string, MigrationState>
  readonly unreachable: MigrationStatus['unreachable']
}

/**
 * Read at most twice a minute: where each tenant has a schema of its own, the whole list takes
 * seconds.
 */
const maxAgeMs = 30_000
const patienceMs = 150

/** Reads how far the migrations have come, once for all pages. */
export function recentMigrations (manager: Manager): Recent<Migrations> {
  return new Recent(
    async () => {
      const { shared, tenants, unreachable } = await manager.status().catch(orNone)
      return {
        shards: new Map(shared.map(state => [state.shard, state])),
        tenants: new Map(tenants.map(state => [state.id, state])),
        unreachable
      }
    },
    maxAgeMs,
    patienceMs
  )
}

// A manager without `migrations` refuses to tell of any.
function orNone (error: unknown): MigrationStatus {
  if (error instanceof OptionInvalidError) return { shared: [], tenants: [], unreachable: [] }
  throw error
}

/** The migration of one tenant in words; undefined where none is to run. */
export function migrationCell (
  { reading, isReading }: KnownReading<Migrations>,
  tenant: TenantRecord
): Html | undefined {
  if (reading === undefined)
    return html`<span class="soft">${isReading ? 'is being read' : 'unknown'}</span>`
  const { shards, tenants, unreachable } = reading.value
  const own = tenant.isolation === 'schema' || tenant.isolation === 'database'
  const state = own ? tenants.get(tenant.id) : shards.get(tenant.placement.shard)
  if (state !== undefined) return migrationState(state)
  const isAway = unreachable.some(({ shard }) => shard === tenant.placement.shard)
  return isAway ? html`<span class="badge bad">shard not reachable</span>` : undefined
}

function migrationState ({ version, pending, problem, failure }: MigrationState): Html | undefined {
  if (failure !== undefined)
    return html`<span class="badge bad">failed</span> ${failure.migration}<span
      class="sub">${failure.error}</span>`
  if (problem !== undefined)
    return html`<span class="badge bad">problem</span><span class="sub">${problem}</span>`
  if (pending.length > 0)
    return html`<span class="badge warn">${pending.length} pending</span> ${version ?? 'none has run'}`
  return version === undefined ? undefined : html`${version}`
}
