import type { Isolation, TenantRecord, TenantStatus } from '@fastify-tenancy/core'

import type { SqlClient } from '../client/sql-client.ts'
import { readTenantJson } from './tenant-record.ts'

/**
 * The last tenant of a page. A slug alone is not enough, because several deleted tenants can have
 * the same.
 */
export interface PagePosition {
  readonly slug: string
  readonly id: string
}

/** What the tenants of {@link searchTenantRows} have in common. */
export interface SearchFilter {
  readonly text?: string | undefined
  readonly status?: TenantStatus | undefined
  readonly plan?: string | undefined
  readonly isolation?: Isolation | undefined
  readonly shard?: string | undefined
}

const matches = (text: string): string =>
  `(strpos(slug, lower(${text})) > 0 or strpos(lower(name), lower(${text})) > 0 or id = ${text}
  or id in (select tenant_id from tenancy.domains where domain = lower(${text}) and verified_at is not null))`

/**
 * Returns one page of tenants by slug, deleted ones only where `status` asks for them. Without a
 * text the unique index on the slug serves the page; with one, PostgreSQL reads the slugs and names
 * until the page is full:
 *
 * ```sql
 * select tenancy.tenant_json(tenants) as tenant from tenancy.tenants
 * where status <> 'deleted' and (slug, id) > ($1, $2) order by slug, id limit 51
 * ```
 */
export async function searchTenantRows (
  client: SqlClient,
  { text, status, ...equal }: SearchFilter,
  after: PagePosition | undefined,
  limit: number
): Promise<TenantRecord[]> {
  const values: unknown[] = []
  const parameter = (value: unknown): string => `$${values.push(value)}`
  const conditions = [status === undefined ? "status <> 'deleted'" : `status = ${parameter(status)}`]
  for (const [column, value] of Object.entries(equal))
    if (value !== undefined) conditions.push(`${column} = ${parameter(value)}`)
  if (text !== undefined) conditions.push(matches(`${parameter(text)}::text`))
  if (after !== undefined) conditions.push(`(slug, id) > (${parameter(after.slug)}, ${parameter(after.id)})`)
  const { rows } = await client.query<{ tenant: string }>(
    `select tenancy.tenant_json(tenants) as tenant from tenancy.tenants
    where ${conditions.join(' and ')} order by slug, id limit ${limit}`,
    values
  )
  return rows.map(({ tenant }) => readTenantJson(tenant))
}
