import type { Isolation } from '@fastify-tenancy/core'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { checkSetup } from '@fastify-tenancy/postgres/doctor'

/** A tenant with the properties that the checks need. */
export interface PlacedTenant {
  readonly id: string
  readonly slug: string
  readonly isolation: string
  readonly status: string
  readonly shard: string
  readonly schema: string | null
}

/** The registry's facts about all tenants. Their size does not grow with the number of tenants. */
export interface RegisteredTenants {
  /** Strategies of tenants that are not deleted. */
  readonly isolations: ReadonlySet<string>
  /** Ids of tenants whose move is not finished. */
  readonly moving: readonly string[]
}

/** Returns the strategies whose tenants have a role, schema or database that the checks examine. */
export function isolationsInCatalog (context: 'setting' | 'role'): readonly Isolation[] {
  return context === 'role' ? ['rls', 'schema', 'database'] : ['schema', 'database']
}

/**
 * Reads which strategies tenants have and which tenants are being moved.
 *
 * @param client a connection to the default shard
 * @returns undefined if the registry does not exist yet
 */
export async function readRegistered (client: SqlClient): Promise<RegisteredTenants | undefined> {
  if (await checkSetup(client) !== undefined) return undefined
  const { rows: [row] } = await client.query<{ isolations: string[]; moving: string[] }>(`
    select array(select name from unnest('{rls,row,schema,database}'::text[]) name
        where exists (
          select from tenancy.tenants where isolation = name and status <> 'deleted'
        )) as isolations,
      array(select tenant_id from tenancy.operations where kind = 'move' and finished_at is null) as moving`)
  return { isolations: new Set(row?.isolations), moving: row?.moving ?? [] }
}

/**
 * Reads the tenants that have objects of their own in the catalog: by their strategy, or because
 * they have a schema. Other tenants only have rows in tenant tables, and there may be millions of
 * them.
 *
 * @param client a connection to the default shard
 */
export async function readPlaced (
  client: SqlClient,
  { shard, isolations, placements }: {
    readonly shard: string
    readonly isolations: readonly Isolation[]
    /** Ids of tenants with a schema on the shard. */
    readonly placements: readonly string[]
  }
): Promise<PlacedTenant[]> {
  const { rows } = await client.query<PlacedTenant>(
    `
    select id, slug, isolation, status, shard, schema_name as schema from tenancy.tenants
    where status <> 'deleted' and shard = $1 and isolation = any($2)
    union
    select id, slug, isolation, status, shard, schema_name from tenancy.tenants
    where status <> 'deleted' and shard = $1 and id = any($3)`,
    [shard, isolations, placements]
  )
  return rows
}

/** Returns the ids of tenants with a schema in this database, from the comments on schemas. */
export async function readSchemaTenants (client: SqlClient): Promise<string[]> {
  const { rows } = await client.query<{ tenant: string }>(`
    select pg_catalog.substr(description, pg_catalog.length('fastify-tenancy: tenant ') + 1) as tenant
    from pg_catalog.pg_description
    where classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and objsubid = 0
      and pg_catalog.starts_with(description, 'fastify-tenancy: tenant ')`)
  return rows.map(({ tenant }) => tenant)
}
