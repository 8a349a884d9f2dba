import { bool, checkOptions, instance, nonEmptyString, OptionInvalidError, oneOf, positiveInteger, timeout,
  type TenantRef } from '@fastify-tenancy/core'
import type { MigrationProvider } from 'kysely/migration'
import * as v from 'valibot'

/** `migrations` of the manager's options: each a folder as `kysely-ctl` keeps it, relative to the working directory, or a provider of Kysely's. */
export interface MigrationsOptions {
  /** Of the tables that tenants share. @default none */
  readonly shared?: string | MigrationProvider
  /** Of the tables that tenants of the strategies `schema` and `database` have for themselves. @default none */
  readonly tenant?: string | MigrationProvider
}

/** What {@link Manager.migrate} may be told. */
export interface MigrateInput {
  /** One of the two sets. @default both; the tenants' where `only` or `schema` is given */
  readonly set?: 'shared' | 'tenant'
  /** These tenants. @default all that are active or suspended */
  readonly only?: TenantRef | readonly TenantRef[]
  /** The tenant of this schema. */
  readonly schema?: string
  /** How many tenants at once, each on one connection; never more than `database.budget` leaves. @default 4 */
  readonly jobs?: number
  /** How many tenants go first; if one of them fails, no other is begun. @default 0 */
  readonly canary?: number
  /** How many of the rest make a wave, which is finished before the next begins. @default all */
  readonly wave?: number
  /** How many tenants may fail before no other is begun. @default 0 */
  readonly maxFailures?: number
  /** Goes on however many fail, as long as no canary does. @default false */
  readonly continue?: boolean
  /** The longest that a migration may wait for a lock; for as long, others wait behind it. @default '1s' */
  readonly lockTimeout?: string
  /** How often it is tried again after that, each time after a longer pause. @default 5 */
  readonly retries?: number
  /**
   * Runs what is pending of the shared set, and of the tenants' in one tenant's schema and one tenant's database, holds the tables
   * against `options.tables`, and takes all back: a table of tenants' rows that would be left without a policy is an error.
   * Its locks are held until the end of all that: try what takes long on a copy of the database.
   * @default false
   */
  readonly check?: boolean
  /** Reports what would run. @default false */
  readonly dryRun?: boolean
  /** No further tenant is begun once it is aborted. */
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

/** `migrations` */
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

/** @throws FST_TENANCY_OPTION_INVALID */
export function resolveMigrateInput (input: unknown): ResolvedMigrateInput {
  const { only, schema, set, signal, continue: goesOn, maxFailures, ...rest } = checkOptions(
    inputSchema,
    input,
    'migrate'
  )
  const isOfTenants = only !== undefined || schema !== undefined
  if (isOfTenants && (set === 'shared' || rest.check))
    throw new OptionInvalidError(
      "migrate.only and migrate.schema are of tenants: leave out set 'shared' and check"
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
