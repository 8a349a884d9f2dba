import { channels, reservedSlugs, type Isolation } from '@fastify-tenancy/core'
import { checkOptions, fn, nonEmptyString } from '@fastify-tenancy/core/options'
import type { TenantDatabaseOptions } from '@fastify-tenancy/database'
import { resolveDatabaseOptions, type ResolvedDatabaseOptions } from '@fastify-tenancy/database/options'
import { namespaceSchema, redisSchema, type RedisSource } from '@fastify-tenancy/redis'
import * as v from 'valibot'

import { adoptionSchema, type AdoptionOptions, type ResolvedAdoptionOptions } from './adopt-options.ts'
import { dnsSchema, patternsOf, type DomainsOptions, type ResolvedDomainsOptions } from './domains-options.ts'
import { lifecycleSchema, type LifecycleOptions, type LifecycleStep,
  type Provision } from './lifecycle-options.ts'
import { migrationsSchema, type MigrationsOptions } from './migrations-options.ts'
import type { OnProgress } from './progress.ts'
import type { Seed } from './seed.ts'

/** Options of {@link createManager}, which include the application's database options. */
export interface ManagerOptions
  extends Pick<TenantDatabaseOptions, 'database' | 'isolation' | 'rls' | 'row' | 'tables'>, DomainsOptions {
  /** Slugs that no tenant may have. @default reservedSlugs of core */
  readonly reserved?: readonly string[]
  /**
   * Creates the tables of a new tenant of strategy `schema` or `database`. `client` is an owner's
   * connection in a transaction whose search path is the tenant's schema. It must be idempotent,
   * because a resumed creation calls it again. @default no tables are created
   */
  readonly provision?: Provision
  /**
   * Inserts a new tenant's first rows, before the tenant is served. It must be idempotent, for
   * example with `on conflict do nothing`, because a resumed creation calls it again. @default no
   * rows
   */
  readonly seed?: Seed
  readonly lifecycle?: LifecycleOptions
  /**
   * The application's Redis, through which changes are published, and which has keys that are
   * removed with a tenant. URL, ioredis client, Cluster or options. @default none
   */
  readonly redis?: RedisSource | undefined
  /**
   * The application's `namespace`, if it is set. @default the installation id, which `init` stores
   * in the database
   */
  readonly namespace?: string | undefined
  /** The application's own migrations, in two sets. @default none */
  readonly migrations?: MigrationsOptions
  /**
   * How to add tenants to a database that already has data. @default no backfill and no legacy code
   */
  readonly adoption?: AdoptionOptions
  /**
   * Called after each step and chunk of long work. An error that it throws stops the work. @default
   * none
   */
  readonly progress?: OnProgress
}

/** {@link ManagerOptions}, checked, with defaults. */
export interface ResolvedManagerOptions extends Pick<ResolvedDatabaseOptions, 'database' | 'rls' | 'tables'> {
  readonly isolation: Isolation
  readonly reserved: readonly string[]
  readonly provision: Provision | undefined
  readonly seed: Seed | undefined
  /** Options as the application's database plugin resolves them. */
  readonly application: ResolvedDatabaseOptions
  readonly steps: readonly LifecycleStep[]
  /** In milliseconds. */
  readonly waitTimeout: number
  readonly redis: RedisSource | undefined
  readonly namespace: string | undefined
  readonly migrations: MigrationsOptions
  readonly adoption: ResolvedAdoptionOptions
  readonly progress: OnProgress | undefined
  readonly domains: ResolvedDomainsOptions
}

// The database options check the remaining keys and reject unknown ones.
const own = v.object({
  reserved: v.optional(v.array(nonEmptyString, 'must be a list of labels'), [...reservedSlugs]),
  provision: v.optional(fn<Provision>()),
  seed: v.optional(fn<Seed>()),
  lifecycle: v.optional(lifecycleSchema, {}),
  redis: v.optional(redisSchema),
  namespace: v.optional(namespaceSchema),
  migrations: v.optional(migrationsSchema, {}),
  adoption: v.optional(adoptionSchema, {}),
  progress: v.optional(fn<OnProgress>()),
  baseDomain: v.optional(nonEmptyString),
  hosts: v.optional(v.array(nonEmptyString, 'must be a list of host patterns'), []),
  dns: v.optional(dnsSchema, {})
})

/**
 * Checks the options and fills in defaults.
 *
 * @param name the object's name in messages
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveManagerOptions (input: unknown, name = 'options'): ResolvedManagerOptions {
  const {
    lifecycle: { steps, wait: waitTimeout },
    provision,
    seed,
    redis,
    namespace,
    progress,
    baseDomain,
    hosts,
    dns,
    ...mine
  } = checkOptions(own, input, name)
  const rest = Object.fromEntries(Object.entries(input as object).filter(([key]) => !(key in own.entries)))
  const patterns = patternsOf(baseDomain, hosts, name)
  const domains: ResolvedDomainsOptions = { patterns, bases: patterns.bases, ...dns }
  const application = resolveDatabaseOptions(rest, name)
  const { database, isolation, rls, tables } = application
  return Object.freeze({
    application,
    database,
    rls,
    tables,
    isolation,
    steps,
    waitTimeout,
    domains,
    provision,
    seed,
    redis,
    namespace,
    progress: published(progress),
    ...mine
  })
}

// What the manager does is told to observers of the process as it is told to its caller.
function published (progress: OnProgress | undefined): OnProgress {
  return step => {
    const { operation, tenant, step: name } = step
    if (operation === 'migrate') channels.migrationStep.publish({ tenant, step: name })
    else if (tenant !== undefined) channels.lifecycleStep.publish({ operation, tenant, step: name })
    progress?.(step)
  }
}
