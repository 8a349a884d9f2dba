import { isolations, tenantStatuses, type Isolation, type TenantRecord,
  type TenantStatus } from '@fastify-tenancy/core'
import { checkOptions, nonEmptyString, oneOf, positiveInteger } from '@fastify-tenancy/core/options'
import { searchTenantRows, type PagePosition } from '@fastify-tenancy/postgres/registry'
import * as v from 'valibot'

import type { ManagerContext } from '../context/context.ts'

/** Which tenants {@link Manager.search} gives. */
export interface SearchInput {
  /**
   * Part of the slug or the name, in any case, or the whole of an id or a verified domain. @default
   * any
   */
  readonly text?: string
  /** @default every status but `'deleted'` */
  readonly status?: TenantStatus
  readonly plan?: string
  readonly isolation?: Isolation
  readonly shard?: string
  /** The `next` of the page before. @default the first page */
  readonly after?: PagePosition
  /** At most 500. @default 50 */
  readonly limit?: number
}

/** One page of tenants, by slug. */
export interface TenantPage {
  readonly tenants: readonly TenantRecord[]
  /** Where the next page begins; undefined on the last one. */
  readonly next: PagePosition | undefined
}

const text = v.pipe(
  nonEmptyString,
  v.maxLength(253, 'must have at most 253 characters'),
  v.check(value => !value.includes('\0'), 'must not hold the character NUL')
)

const schema = v.strictObject({
  text: v.optional(text),
  status: v.optional(oneOf(...tenantStatuses)),
  plan: v.optional(text),
  isolation: v.optional(oneOf(...isolations)),
  shard: v.optional(text),
  after: v.optional(v.strictObject({ slug: text, id: text }, 'must be the `next` of a page')),
  limit: v.optional(v.pipe(positiveInteger, v.maxValue(500, 'must be at most 500')), 50)
}, 'must be an object')

/** Reads one page of tenants. */
export async function searchTenants ({ shards }: ManagerContext, input: SearchInput): Promise<TenantPage> {
  const { limit, after, ...filter } = checkOptions(schema, input, 'search')
  const tenants = await searchTenantRows(shards.get('default'), filter, after, limit + 1)
  const page = tenants.slice(0, limit)
  const last = page.at(-1)
  return {
    tenants: page,
    next: tenants.length > limit && last !== undefined ? { slug: last.slug, id: last.id } : undefined
  }
}
