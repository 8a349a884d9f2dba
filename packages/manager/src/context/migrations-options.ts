import { OptionInvalidError, type TenantRef } from '@fastify-tenancy/core'
import { bool, checkOptions, instance, nonEmptyString, oneOf, positiveInteger,
  timeout } from '@fastify-tenancy/core/options'
import type { MigrationProvider } from 'kysely/migration'
import * as v from 'valibot'

/**
 * The manager's option `migrations`. Each set is a folder in the format of `kysely-ctl`, relative
 * to the working directory, or a MigrationProvider of Kysely.
 */
export interface MigrationsOptions {
  /** Migrations of the tables that tenants share. @default none */
  readonly shared?: string | MigrationProvider
  /** Migrations of tenants' own tables, for strategies `schema` and `database`. @default none */
  readonly tenant?: string | MigrationProvider
}

/** Options of {@link Manager.migrate}. */
export interface MigrateInput {
  /** Runs one of the two sets. @default both; the tenants' set with `only` or `schema` */
  readonly set?: 'shared' | 'tenant'
  /** Migrates only these tenants. @default all that are active or suspended */
  readonly only?: TenantRef | readonly TenantRef[]
  /** Migrates only the tenant of this schema. */
  readonly schema?: string
  /**
   * Number of tenants migrated in parallel, each on one connection. Capped by what
   * `database.budget` leaves. @default 4
   */
  readonly jobs?: number
  /**
   * Number of tenants to migrate first. If one of them fails, no other tenant is begun. @default 0
   */
  readonly canary?: number
  /** Number of tenants in a wave, which is completed before the next wave begins. @default all */
  readonly wave?: number
  /** Number of failures after which no other tenant is begun. @default 0 */
  readonly maxFailures?: number
  /** Continues after any number of failures, unless a canary fails. @default false */
  readonly continue?: boolean
  /**
   * Longest wait of a migration for a lock. Later statements queue behind it for as long. @default
   * '1s'
   */
  readonly lockTimeout?: string
  /** Number of retries after a lock timeout, with growing delays. @default 5 */
  readonly retries?: number
  /**
   * Runs pending migrations and rolls them back: the shared set, and the tenants' set in one
   * tenant's schema and one tenant's database. Also compares the tables with `options.tables`; a
   * table with tenant rows but no policy is an error. All locks are held until the end, so check
   * long migrations on a copy of the database. @default false
   */
  readonly check?: boolean
  /** Only reports which migrations would run. @default false */
  readonly dryRun?: boolean
  /** After it is aborted, no further tenant is begun. */
  readonly signal?: AbortSignal
}

/** {@link MigrateInput}, checked, with defaults; times in milliseconds. */
export interface ResolvedMigrateInput {
  readonly set: 'shared' | 'tenant' | undefined
  readonly only: readonly TenantRef[] | undefined
  readonly schema: string | undefined
  readonly jobs: number
  readonly canary: number
  readonly wave: number
  readonly maxFailures: number
  readonly lockTimeout: number
  readonly retries: number
  readonly check: boolean
  readonly dryRun: boolean
  readonly signal: AbortSignal | undefined
}

const source = v.union(
  [nonEmptyString, instance<MigrationProvider>('a MigrationProvider', 'getMigrations')],
  'must be the path of a folder, or a MigrationProvider'
)

/** Schema of `migrations`. */
export const migrationsSchema: v.GenericSchema<unknown, MigrationsOptions> = v.strictObject({
  shared: v.exactOptional(source),
  tenant: v.exactOptional(source)
}, 'must be an object of shared and tenant')

const count = v.pipe(
  v.number('must be a whole number from 0'),
  v.safeInteger('must be a whole number from 0'),
  v.minValue(0, 'must be a whole number from 0')
)
const ref = v.union(
  [v.strictObject({ id: nonEmptyString }), v.strictObject({ slug: nonEmptyString })],
  'must be { id } or { slug }, or a list of them'
)

const inputSchema = v.strictObject({
  set: v.optional(oneOf('shared', 'tenant')),
  only: v.optional(v.pipe(v.unknown(), v.transform(input => [input].flat()), v.array(ref))),
  schema: v.optional(nonEmptyString),
  jobs: v.optional(positiveInteger, 4),
  canary: v.optional(count, 0),
  wave: v.optional(positiveInteger, Number.MAX_SAFE_INTEGER),
  maxFailures: v.optional(count, 0),
  continue: v.optional(bool, false),
  lockTimeout: v.optional(timeout, '1s'),
  retries: v.optional(count, 5),
  check: v.optional(bool, false),
  dryRun: v.optional(bool, false),
  signal: v.optional(instance<AbortSignal>('an AbortSignal', 'throwIfAborted'))
}, 'must be an object')

/**
 * Checks the input of `migrate`.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveMigrateInput (input: unknown): ResolvedMigrateInput {
  const { only, schema, set, signal, continue: goesOn, maxFailures, ...rest } = checkOptions(
    inputSchema,
    input,
    'migrate'
  )
  const isOfTenants = only !== undefined || schema !== undefined
  if (isOfTenants && (set === 'shared' || rest.check))
    throw new OptionInvalidError(
      "migrate.only and migrate.schema select tenants: remove set 'shared' and check"
    )
  return {
    ...rest,
    only,
    schema,
    signal,
    set: isOfTenants ? 'tenant' : set,
    maxFailures: goesOn ? Number.MAX_SAFE_INTEGER : maxFailures
  }
}
