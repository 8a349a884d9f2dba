import { duration, idProblem, nonEmptyString, oneOf, timeout } from '@fastify-tenancy/core'
import type { TenantColumnType } from '@fastify-tenancy/postgres/tables'
import * as v from 'valibot'

/**
 * What fills the tenant column of a table's rows, those that are there and those that code without tenants goes on to write:
 * the row of another table that a foreign key names, one tenant's id for all of them, or an expression over the row's own columns.
 * `false` leaves the table without the column: its rows are then whose their parents are.
 */
export type Backfill = false | { readonly parent: string } | { readonly value: string } | {
  readonly sql: string
}

/** How a database that had data before it had tenants is taken over. */
export interface AdoptionOptions {
  /** By table. @default the tenant table that the table's first `not null` foreign key names */
  readonly backfill?: Readonly<Record<string, Backfill>>
  /** The type of tenant columns that are made. @default that of the parent's column, or of the expression */
  readonly type?: TenantColumnType
  /** The roles of code that knows no tenants, each with the last day (`'2027-03-31'`, UTC) on which it may still work. @default none */
  readonly legacy?: Readonly<Record<string, string>>
  /**
   * How long a change of a table may queue for its lock, and with it all readers and writers who come later. Less than the
   * server's `deadlock_timeout`, so that in a deadlock this gives way and not the application. @default '500ms'
   */
  readonly lockTimeout?: string
  /** For how long it is tried again when the lock was not to be had. @default '10m' */
  readonly lockRetry?: string
}

/** {@link AdoptionOptions} with defaults; durations in milliseconds. */
export interface ResolvedAdoptionOptions {
  readonly backfill: Readonly<Record<string, Backfill>>
  readonly type?: TenantColumnType | undefined
  readonly legacy: Readonly<Record<string, string>>
  readonly lockTimeout: number
  readonly lockRetry: number
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
  lockRetry: v.optional(duration, '10m')
}, 'must be an object') as v.GenericSchema<AdoptionOptions, ResolvedAdoptionOptions>
