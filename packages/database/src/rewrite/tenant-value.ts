import { InternalTypeError } from '@fastify-tenancy/core/errors'
import type { TenantColumnType } from '@fastify-tenancy/postgres/tables'
import { CastNode, DataTypeNode, type ValueNode } from 'kysely'

import { valueNode } from './nodes.ts'

/** A tenant's id with a parameter for each type of tenant column. */
export interface TenantValue {
  readonly id: string
  /**
   * The parameter nodes that hold the id. The compiler recognises them, and sends each type's
   * parameter once per statement.
   */
  readonly parameters: Readonly<Record<TenantColumnType, ValueNode>>
  /** The parameter with a cast, for positions where no column gives it a type. */
  readonly casts: Readonly<Record<TenantColumnType, CastNode>>
}

/** @throws TypeError for an empty id, which the database would accept like any other value */
export function tenantValue (id: string): TenantValue {
  if (typeof id !== 'string' || id === '')
    throw new InternalTypeError('a tenant id must be a non-empty string')
  // Frozen, because every compiled query holds these nodes. Otherwise the holder of a query could
  // change the tenant of all later queries.
  const parameter = (): ValueNode => Object.freeze(valueNode(id, false))
  const parameters = { text: parameter(), uuid: parameter(), int: parameter(), bigint: parameter() }
  return {
    id,
    parameters,
    casts: {
      text: CastNode.create(parameters.text, DataTypeNode.create('text')),
      uuid: CastNode.create(parameters.uuid, DataTypeNode.create('uuid')),
      int: CastNode.create(parameters.int, DataTypeNode.create('int4')),
      bigint: CastNode.create(parameters.bigint, DataTypeNode.create('int8'))
    }
  }
}

/**
 * Whether an id equals the text that a column of this type prints. `007` and `7` are one bigint,
 * and uuids compare without case, so two tenants could share one value.
 */
export function fitsColumn (id: string, type: TenantColumnType): boolean {
  if (type === 'text') return true
  if (type === 'uuid') return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)
  if (!/^(?:0|-?[1-9]\d{0,18})$/.test(id)) return false
  const bits = type === 'int' ? 32 : 64
  return BigInt.asIntN(bits, BigInt(id)) === BigInt(id)
}

/** Whether a value in a query is the tenant's own id, as text or as a number. */
export function isOwnId (value: unknown, { id }: TenantValue): boolean {
  return (typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint') &&
    String(value) === id
}
