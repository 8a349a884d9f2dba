import { tenantConflict } from '@fastify-tenancy/core'
import { sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'

/** A domain that a tenant claims or has proved, as `tenancy.domains` keeps it. */
export interface StoredDomain {
  readonly tenant: string
  readonly domain: string
  /** Null for one that was given as proved when the tenant was created. */
  readonly token: string | null
  readonly status: 'pending' | 'verified' | 'lapsed'
  /** How often the record was missing since it was last seen. */
  readonly misses: number
  readonly checkedAt: Date | null
}

const columns =
  `tenant_id as tenant, domain, token, misses, extract(epoch from checked_at)::float8 * 1000 as "checkedAt",
  case when verified_at is not null then 'verified' when lapsed_at is not null then 'lapsed' else 'pending' end as status`

type Row = Omit<StoredDomain, 'checkedAt'> & { readonly checkedAt: number | null }

function toDomain ({ checkedAt, ...row }: Row): StoredDomain {
  return { ...row, checkedAt: checkedAt === null ? null : new Date(checkedAt) }
}

/** All domains, or those of one tenant. */
export async function readDomains (client: SqlClient, tenant?: string): Promise<StoredDomain[]> {
  const { rows } = await client.query<Row>(
    `select ${columns} from tenancy.domains where $1::text is null or tenant_id = $1 order by domain, tenant_id`,
    [tenant ?? null]
  )
  return rows.map(toDomain)
}

/** Whether another tenant has proved a domain. */
export async function isTaken (client: SqlClient, tenant: string, domain: string): Promise<boolean> {
  const { rows } = await client.query(
    'select from tenancy.domains where domain = $2 and tenant_id <> $1 and verified_at is not null',
    [tenant, domain]
  )
  return rows.length > 0
}

/** Writes a claim down; one that is there keeps its token. */
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
  if (row === undefined) throw new Error('the claim was not written down')
  return row
}

/** @throws FST_TENANCY_TENANT_CONFLICT when another tenant has proved it meanwhile */
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

/** Writes down that the record was seen again. Says nothing to anybody: nothing has changed for them. */
export async function markSeen (client: SqlClient, tenant: string, domain: string): Promise<void> {
  await client.query(
    'update tenancy.domains set checked_at = now(), misses = 0 where tenant_id = $1 and domain = $2',
    [tenant, domain]
  )
}

/** Counts a miss. @returns how many there are now */
export async function markMissed (client: SqlClient, tenant: string, domain: string): Promise<number> {
  const { rows: [row] } = await client.query<{ misses: number }>(
    'update tenancy.domains set checked_at = now(), misses = misses + 1 where tenant_id = $1 and domain = $2 returning misses',
    [tenant, domain]
  )
  return row?.misses ?? 0
}

/** Takes a domain's proof away: requests for it find nobody from now on, and others may prove it. */
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

// Counts the tenant's version: a writer who has read it before would write the old list of domains over this.
async function touch (client: SqlClient, tenant: string): Promise<void> {
  await client.query('update tenancy.tenants set updated_at = now() where id = $1', [tenant])
}
