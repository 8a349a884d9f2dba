import { channels, checkOptions, fn, nonEmptyString, reservedSlugs,
  type Isolation } from '@fastify-tenancy/core'
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

/** Options of {@link createManager}: what the application itself is given. */
export interface ManagerOptions
  extends Pick<TenantDatabaseOptions, 'database' | 'isolation' | 'rls' | 'row' | 'tables'>, DomainsOptions {
  /** Labels that no tenant may take. @default reservedSlugs of core */
  readonly reserved?: readonly string[]
  /**
   * Makes the tables of a new tenant of strategy `schema` or `database`, in one transaction with all the rest that it needs:
   * `client` is one connection of the owner's, on which names without a schema are the tenant's. May be called again for a tenant
   * whose creation was cut short. @default no tables are made
   */
  readonly provision?: Provision
  /**
   * Fills a new tenant's tables before anybody can see them. May be called again for a tenant whose creation was cut short:
   * what it inserts should have `on conflict do nothing`. @default nothing is filled in
   */
  readonly seed?: Seed
  readonly lifecycle?: LifecycleOptions
  /**
   * The application's Redis: every change is told through it, and what it keeps of a tenant goes with the tenant.
   * URL, ioredis client, Cluster or options. @default none
   */
  readonly redis?: RedisSource | undefined
  /** The application's `namespace`, where it has one. @default the installation id, which `init` makes and the database keeps */
  readonly namespace?: string | undefined
  /** The application's own migrations, in two sets. @default none */
  readonly migrations?: MigrationsOptions
  /** How a database that had data before it had tenants is taken over. @default nothing is filled in for any table, and there is no old code */
  readonly adoption?: AdoptionOptions
  /** Told of each step and portion of long work. It is called in the middle of that: an error that it throws stops the work. @default nobody is told */
  readonly progress?: OnProgress
}

/** {@link ManagerOptions}, checked, with defaults. */
export interface ResolvedManagerOptions extends Pick<ResolvedDatabaseOptions, 'database' | 'rls' | 'tables'> {
  readonly isolation: Isolation
  readonly reserved: readonly string[]
  readonly provision: Provision | undefined
  readonly seed: Seed | undefined
  /** What the application itself makes of the options. */
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

// What is not here is the database's, which refuses what it does not know.
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
 * @param name how the caller knows the object, for messages.
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
