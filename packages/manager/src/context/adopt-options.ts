import { idProblem } from '@fastify-tenancy/core'
import { duration, nonEmptyString, oneOf, timeout } from '@fastify-tenancy/core/options'
import type { TenantColumnType } from '@fastify-tenancy/postgres/tables'
import * as v from 'valibot'

/**
 * The value of the tenant column, for existing rows and for rows that legacy code still inserts:
 * from the parent row of a foreign key, one tenant's id, or an expression over the row's columns.
 * With `false`, the table gets no column, and its rows belong to the tenant of their parents.
 */
export type Backfill = false | { readonly parent: string } | { readonly value: string } | {
  readonly sql: string
}

/** How to add tenants to a database that already has data. */
export interface AdoptionOptions {
  /** By table. @default the tenant table that the table's first `not null` foreign key refers to */
  readonly backfill?: Readonly<Record<string, Backfill>>
  /**
   * The type of new tenant columns. @default the type of the parent's column, or of the expression
   */
  readonly type?: TenantColumnType
  /**
   * Roles of legacy code, which does not set a tenant, each with the last day (`'2027-03-31'`, UTC)
   * on which it may work. @default none
   */
  readonly legacy?: Readonly<Record<string, string>>
  /**
   * How long one attempt to change a table may wait for its lock, with later readers and writers
   * queued behind it. Keep it below `deadlock_timeout`, so that a deadlock ends the adoption's
   * statement and not the application's. @default '500ms'
   */
  readonly lockTimeout?: string
  /** How long to retry if the lock is not granted. @default '10m' */
  readonly lockWaitBudget?: string
}

/** {@link AdoptionOptions} with defaults; durations in milliseconds. */
export interface ResolvedAdoptionOptions {
  readonly backfill: Readonly<Record<string, Backfill>>
  readonly type?: TenantColumnType | undefined
  readonly legacy: Readonly<Record<string, string>>
  readonly lockTimeout: number
  readonly lockWaitBudget: number
}

const backfillMessage = "must be false, { parent: 'table' }, { value: 'id' } or { sql: 'expression' }"
const dayMessage = "must be a day such as '2027-03-31'"

const id = v.pipe(
  v.string("must be a tenant's id"),
  v.check(value => idProblem(value) === undefined, "must be a tenant's id")
)
const backfill = v.union([
  v.literal(false),
  v.strictObject({ parent: nonEmptyString }),
  v.strictObject({ value: id }),
  v.strictObject({ sql: nonEmptyString })
], backfillMessage)

export const adoptionSchema: v.GenericSchema<AdoptionOptions, ResolvedAdoptionOptions> = v.strictObject({
  backfill: v.optional(v.record(v.string(), backfill, 'must be a map of tables'), {}),
  type: v.optional(oneOf('text', 'uuid', 'int', 'bigint')),
  legacy: v.optional(
    v.record(
      v.string(),
      v.pipe(v.string(dayMessage), v.isoDate(dayMessage)),
      'must be a map of roles to days'
    ),
    {}
  ),
  lockTimeout: v.optional(timeout, '500ms'),
  lockWaitBudget: v.optional(duration, '10m')
}, 'must be an object') as v.GenericSchema<AdoptionOptions, ResolvedAdoptionOptions>
