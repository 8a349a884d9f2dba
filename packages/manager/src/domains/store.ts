import { tenantConflict } from '@fastify-tenancy/core/errors'
import { sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'

/** A claimed or verified domain of a tenant, as stored in `tenancy.domains`. */
export interface StoredDomain {
  readonly tenant: string
  readonly domain: string
  /** Null for a domain that was declared verified when the tenant was created. */
  readonly token: string | null
  readonly status: 'pending' | 'verified' | 'lapsed'
  /** How often the record was missing since it was last seen. */
  readonly misses: number
  readonly checkedAt: Date | null
}

const columns =
  `tenant_id as tenant, domain, token, misses, extract(epoch from checked_at)::float8 * 1000 as "checkedAt",
  case when verified_at is not null then 'verified' when lapsed_at is not null then 'lapsed'
    else 'pending' end as status`

type Row = Omit<StoredDomain, 'checkedAt'> & { readonly checkedAt: number | null }

function toDomain ({ checkedAt, ...row }: Row): StoredDomain {
  return { ...row, checkedAt: checkedAt === null ? null : new Date(checkedAt) }
}

/** Returns all domains, or those of one tenant. */
export async function readDomains (client: SqlClient, tenant?: string): Promise<StoredDomain[]> {
  const { rows } = await client.query<Row>(
    `
    select ${columns} from tenancy.domains
    where $1::text is null or tenant_id = $1 order by domain, tenant_id`,
    [tenant ?? null]
  )
  return rows.map(toDomain)
}

/** Whether another tenant has verified a domain. */
export async function isTaken (client: SqlClient, tenant: string, domain: string): Promise<boolean> {
  const { rows } = await client.query(
    'select from tenancy.domains where domain = $2 and tenant_id <> $1 and verified_at is not null',
    [tenant, domain]
  )
  return rows.length > 0
}

/** Stores a claim; an existing one keeps its token. */
export async function insertClaim (
  client: SqlClient,
  tenant: string,
  domain: string,
  token: string
): Promise<{ readonly isNew: boolean; readonly token: string }> {
  const { rows: [row] } = await client.query<{ isNew: boolean; token: string }>(
    `
    insert into tenancy.domains as held (tenant_id, domain, token) values ($1, $2, $3)
    on conflict (tenant_id, domain) do update set token = coalesce(held.token, excluded.token)
    returning xmax = 0 as "isNew", token`,
    [tenant, domain, token]
  )
  if (row === undefined) throw new Error('the insert into tenancy.domains returned no row')
  return row
}

/**
 * Marks a domain as verified.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT if another tenant has verified it meanwhile
 */
export async function markVerified (client: SqlClient, tenant: string, domain: string): Promise<void> {
  await client.query(
    `
    update tenancy.domains set verified_at = now(), checked_at = now(), misses = 0, lapsed_at = null
    where tenant_id = $1 and domain = $2`,
    [tenant, domain]
  )
    .catch((error: unknown) => {
      throw sqlState(error) === '23505' ? tenantConflict('the domain is taken') : error
    })
  await touch(client, tenant)
}

/** Records that the record was seen again. Sends no notification, because routing is unchanged. */
export async function markSeen (client: SqlClient, tenant: string, domain: string): Promise<void> {
  await client.query(
    'update tenancy.domains set checked_at = now(), misses = 0 where tenant_id = $1 and domain = $2',
    [tenant, domain]
  )
}

/**
 * Counts a missing record.
 *
 * @returns the new count
 */
export async function markMissed (client: SqlClient, tenant: string, domain: string): Promise<number> {
  const { rows: [row] } = await client.query<{ misses: number }>(
    `
    update tenancy.domains set checked_at = now(), misses = misses + 1
    where tenant_id = $1 and domain = $2 returning misses`,
    [tenant, domain]
  )
  return row?.misses ?? 0
}

/**
 * Ends a domain's verification: requests for it are no longer routed, and another tenant may verify
 * it.
 */
export async function markLapsed (client: SqlClient, tenant: string, domain: string): Promise<void> {
  await client.query(
    'update tenancy.domains set verified_at = null, lapsed_at = now() where tenant_id = $1 and domain = $2',
    [tenant, domain]
  )
  await touch(client, tenant)
}

export async function deleteDomain (client: SqlClient, tenant: string, domain: string): Promise<boolean> {
  const { rowCount } = await client.query(
    'delete from tenancy.domains where tenant_id = $1 and domain = $2',
    [tenant, domain]
  )
  if (rowCount === 1) await touch(client, tenant)
  return rowCount === 1
}

// Increments the tenant's version. Otherwise a writer with an older record would overwrite its list
// of domains.
async function touch (client: SqlClient, tenant: string): Promise<void> {
  await client.query('update tenancy.tenants set updated_at = now() where id = $1', [tenant])
}
