import { fn, positiveInteger, timeout } from '@fastify-tenancy/core'
import { anyUrl, serverUrl, source } from '@fastify-tenancy/postgres/client'
import type { TenantsOptions, ResolvedTenantsOptions } from '@fastify-tenancy/postgres/placement'
import type pg from 'pg'
import * as v from 'valibot'

/** One more server or database with shared tables, or schemas of tenants. */
export interface ShardOptions {
  /** The application's login there. */
  readonly url: string | pg.Pool
  /** The login that may become the roles of tenants there. @default the one of `url` */
  readonly tenantRolesUrl?: string | undefined
  /** The login of work across tenants there. */
  readonly systemUrl?: string | undefined
  /** The login of migrations and of the manager there. */
  readonly ownerUrl?: string | undefined
}

/** A bound on the connections of one process, over all its pools. */
export interface BudgetOptions {
  readonly connections: number
  /**
   * What happens to who needs one more. `'evict'` closes the connection that was idle for longest,
   * and waits for one where none is idle; `'wait'` waits until one is closed; both for at most
   * `fairness.maxWait`. `'reject'`, and a wait that is over, is FST_TENANCY_DATABASE_BUSY.
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

/** `shards`: a bare URL stands for an object with just that. */
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

/** `tenants` */
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

/** `budget`: a bare number stands for an object with just that. */
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

/** What happens to who needs one connection more than the budget has. */
export type WhenFull = 'wait' | 'evict' | 'reject'
