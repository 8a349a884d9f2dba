import { fn, positiveInteger, timeout } from '@fastify-tenancy/core/options'
import { anyUrl, serverUrl, source } from '@fastify-tenancy/postgres/client'
import type { TenantsOptions, ResolvedTenantsOptions } from '@fastify-tenancy/postgres/placement'
import type pg from 'pg'
import * as v from 'valibot'

/** A further database with tenant tables or tenants' schemas. */
export interface ShardOptions {
  /** The application's login there. */
  readonly url: string | pg.Pool
  /** The login that may become the roles of tenants there. @default the login of `url` */
  readonly tenantRolesUrl?: string | undefined
  /** The login of work across tenants there. */
  readonly systemUrl?: string | undefined
  /** The login of migrations and of the manager there. */
  readonly ownerUrl?: string | undefined
}

/** A limit on the connections of one process, over all its pools. */
export interface BudgetOptions {
  readonly connections: number
  /**
   * The reaction to a caller that needs one more connection. `'evict'` closes the longest idle
   * connection, and waits if none is idle. `'wait'` waits until one is closed. Both wait at most
   * `fairness.maxWait`. `'reject'`, or a wait that is over, gives FST_TENANCY_DATABASE_BUSY.
   * @default 'evict'
   */
  readonly whenFull?: WhenFull
}

const shard = v.strictObject({
  url: source,
  tenantRolesUrl: v.optional(serverUrl),
  systemUrl: v.optional(serverUrl),
  ownerUrl: v.optional(serverUrl)
}, 'must be a URL or an object with a url')

/** Checks `shards`. A bare URL means an object with that URL. */
export const shardsSchema: v.GenericSchema<unknown, Readonly<Record<string, ShardOptions>>> = v.record(
  v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9_-]*$/i, 'must be named by letters, digits, _ and -')),
  v.pipe(v.unknown(), v.transform(input => v.is(source, input) ? { url: input } : input), shard),
  'must be a map of names to URLs'
) as v.GenericSchema<unknown, Readonly<Record<string, ShardOptions>>>

const templateMessage = "must be a URL with {database} in it, or a function that answers a tenant's URL"
const template = v.union([
  v.pipe(anyUrl, v.includes('{database}', templateMessage)),
  fn<Extract<TenantsOptions['url'], (...args: never[]) => unknown>>()
], templateMessage)

/** Checks `tenants`. */
export const tenantsSchema: v.GenericSchema<unknown, ResolvedTenantsOptions> = v.pipe(
  v.strictObject({
    url: v.optional(template),
    decrypt: v.optional(fn<NonNullable<TenantsOptions['decrypt']>>()),
    pool: v.optional(v.strictObject({ max: v.optional(positiveInteger, 2) }, 'must be an object'), {}),
    maxPools: v.optional(positiveInteger, 50),
    idle: v.optional(timeout, '5m'),
    connectTimeout: v.optional(timeout, '2s')
  }, 'must be an object'),
  v.transform(({ url, decrypt, ...rest }) => ({ url, decrypt, ...rest }))
)

const budgetMessage = 'must be a positive integer, or an object with connections'

/** Checks `budget`. A bare number means an object with that number. */
export const budgetSchema: v.GenericSchema<
  unknown,
  { readonly connections: number; readonly whenFull: WhenFull }
> = v.pipe(
  v.unknown(),
  v.transform(input => typeof input === 'number' ? { connections: input } : input),
  v.strictObject({
    connections: positiveInteger,
    whenFull: v.optional(
      v.picklist(['wait', 'evict', 'reject'], "must be one of 'wait', 'evict', 'reject'"),
      'evict'
    )
  }, budgetMessage)
)

/** The reaction to a caller that needs one connection more than the budget allows. */
export type WhenFull = 'wait' | 'evict' | 'reject'
