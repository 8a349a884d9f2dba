// A tenant that is written during its move, by SQL that runs in the source at given steps.
import type { MoveInput } from '@fastify-tenancy/manager'
import type { Test } from 'tap'

import { ask } from '../support/sql.ts'
import { elsewhere } from '../support/standstill.ts'
import { managerFixture, unique, type ManagerFixture } from './manager-fixture.ts'
import { build, contents, tables, type Place } from './change-workload.ts'

export interface MovingTenant {
  readonly on: ManagerFixture
  readonly id: string
  /** Where the tenant's rows are, for one strategy. */
  place(isolation: string, shard?: string): Place
  /** Moves the tenant while another session runs SQL in the source, once at each step. */
  move(input: MoveInput, source: Place, at: (step: string) => string | undefined): Promise<{ paused: number }>
}

export async function movingTenant (t: Test, shards: readonly string[] = []): Promise<MovingTenant> {
  const on = await managerFixture(t, { build, tables, shards })
  const id = unique(on, 'a')
  const other = elsewhere(t)
  const place = (isolation: string, shard = 'default'): Place => ({
    url: isolation === 'database'
      ? on.superUrl.replace(/\/[^/]*$/, `/tenant_${id}`)
      : on.shardUrls[shard] ?? on.superUrl,
    schema: isolation === 'schema' ? `tenant_${id}` : 'public',
    tenant: isolation === 'rls' ? id : undefined
  })
  return {
    on,
    id,
    place,
    async move (input, source, at) {
      const seen = new Set<string>()
      return on.another({
        progress ({ step }) {
          if (step !== 'changes' && seen.has(step)) return
          seen.add(step)
          const sql = at(step)
          if (sql !== undefined) other.run(source.url, sql)
        }
      }).move({ id }, input)
    }
  }
}

/** Returns all rows of a tenant in one of its placements. */
export const rows = (place: Place): Promise<Record<string, unknown>[]> => ask(place.url, contents(place))

/** Objects that a move leaves in the source database until it is confirmed. */
export const traces = `
  select tgname::text as name from pg_trigger where tgname like 'tenancy_move_%' union all select table_name
  from tenancy.move_changes`
