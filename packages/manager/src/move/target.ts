import { isolations, type Isolation, type TenantRecord } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { tenantIdentifier } from '@fastify-tenancy/core/keys'
import { checkOptions, duration, nonEmptyString, oneOf } from '@fastify-tenancy/core/options'
import * as v from 'valibot'

import type { ManagerContext } from '../context/context.ts'
import type { TenantPlacement } from '../placement/tenant-placement.ts'

/** Where {@link Manager.move} moves a tenant. Omitted properties keep their current value. */
export interface MoveInput {
  readonly isolation?: Isolation
  readonly shard?: string
  /**
   * Name of the tenant's database, or the input from which `tenants.decrypt` makes its URL. For
   * strategy `database`. @default 'tenant_<id>'
   */
  readonly database?: string
  /**
   * The longest time that the tenant may be locked out. If copying and comparing take longer, the
   * move is undone and the tenant is served from its source. @default '1m'
   */
  readonly pause?: string
}

const schema = v.strictObject({
  isolation: v.optional(oneOf(...isolations)),
  shard: v.optional(nonEmptyString),
  database: v.optional(nonEmptyString),
  pause: v.optional(duration, '1m')
}, 'must be an object of isolation, shard, database and pause')

interface Destination {
  readonly target: TenantPlacement
  /** In milliseconds. */
  readonly pause: number
}

/**
 * Returns the checked target and pause of a move.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function destination (
  { shards }: ManagerContext,
  tenant: TenantRecord,
  input: MoveInput
): Destination {
  const { isolation = tenant.isolation, shard = tenant.placement.shard, database, pause } = checkOptions(
    schema,
    input
  )
  shards.logins(shard)
  const { id } = tenant
  const placement = {
    shard,
    ...(isolation === 'schema' && { schema: tenantIdentifier(id) }),
    ...(isolation === 'database' && { database: database ?? tenantIdentifier(id) })
  }
  return { target: { id, isolation, placement }, pause }
}

/**
 * Refuses a target in which the tenant already is.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT
 */
export function assertElsewhere (tenant: TenantPlacement, { isolation, placement }: TenantPlacement): void {
  const isThere = tenant.isolation === isolation && (isolation === 'database'
    ? tenant.placement.database === placement.database
    : tenant.placement.shard === placement.shard)
  if (isThere) throw tenantConflict('the tenant is there already: name another isolation or shard')
}
