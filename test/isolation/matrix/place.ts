// One strategy, set up as the manager leaves it, with one connection that two tenants share.
import type { Tenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase, openPool, type DatabaseRuntime } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import { tagged } from '@fastify-tenancy/testing'
import type { Kysely } from 'kysely'
import type pg from 'pg'
import type { Test } from 'tap'

import { databaseTemplate, dropDatabases, secret, sharedTables, silent, tables, world, type Rows,
  type WorldOptions } from '../../strategies/strategy-fixture.ts'
import { connect, databaseOf } from '../../support/sql.ts'

/** What a request has of its tenant: a handle in a scope of its own. */
export interface Request {
  readonly db: Kysely<Rows>
  readonly scope: TenantScope
}

export interface PlaceTenant {
  readonly id: string
  /** What its values are tagged with. */
  readonly name: string
  /** @param statementTimeout in milliseconds @default the database's */
  request(statementTimeout?: number): Request
}

/** A superuser on the database of a tenant's rows, who can see and stop its statements. */
export interface Admin {
  readonly client: pg.Client
  /** The table of its notes. */
  readonly notes: string
}

/** Where the matrix runs. */
export interface Place {
  readonly tenants: readonly [PlaceTenant, PlaceTenant]
  /** Undefined on PGlite, which accepts no second connection. */
  adminOf(tenant: PlaceTenant): Admin | undefined
  /** Every value of both tenants, as the superuser sees them. */
  values(): Promise<readonly string[]>
  /** Whether raw SQL is refused. */
  readonly isRewritten: boolean
  /** The database of the shared tables. */
  readonly databaseName: string
}

export interface PlaceOptions extends Pick<WorldOptions, 'isolation' | 'rls'> {
  /** @default true */
  readonly tripwire?: boolean
  /** Takes row-level security off the tables, so that what is left stands alone. */
  readonly withoutPolicies?: boolean
}

/**
 * The numbers of a tenant's notes, and its one project, whenever nothing is under way: the same for
 * both, and only the tags differ.
 */
export const notes = [1, 2, 3] as const
export const project = 'p'

const names = ['acme', 'globex'] as const

/** A place on PostgreSQL. */
export async function place (
  t: Test,
  { isolation = 'rls', rls = {}, tripwire = true, withoutPolicies = false }: PlaceOptions
): Promise<Place> {
  const hasDatabases = isolation === 'database'
  const on = await world(t, {
    isolation,
    rls,
    ...(hasDatabases &&
      { database: superUrl => ({ tenants: { url: databaseTemplate(superUrl), pool: { max: 1 } } }) })
  })
  const database = await on.open({ tripwire, pool: { max: 1 } })
  const admins = new Map<PlaceTenant, Admin>()
  const tenants = await pair(async name => {
    // Databases and their logins are the server's.
    const id = hasDatabases ? `${name}-${databaseOf(on.superUrl)}` : name
    if (hasDatabases) dropDatabases(t, on.superUrl, [`tenant_${id}`])
    const tenant = placeTenant(database, name, await on.create(id))
    admins.set(tenant, {
      client: await connect(t, hasDatabases ? on.superUrl.replace(/[^/]*$/, `tenant_${id}`) : on.superUrl),
      notes: isolation === 'schema' ? `tenant_${id}.notes` : 'public.notes'
    })
    return tenant
  })
  if (withoutPolicies)
    await on.admin(
      'alter table notes disable row level security; alter table projects disable row level security'
    )
  return {
    tenants,
    adminOf: tenant => admins.get(tenant),
    values: async () =>
      valuesOf(
        Array.from(
          hasDatabases || isolation === 'schema' ? admins.values() : [...admins.values()].slice(0, 1)
        )
      ),
    isRewritten: isolation === 'row' || rls.filter === true,
    databaseName: databaseOf(on.superUrl)
  }
}

/** Policies on PGlite, where all tenants share one session. */
export async function embeddedPlace (t: Test): Promise<Place> {
  const pool = openPool('pglite://memory')
  t.teardown(() => pool.end())
  const options = { database: pool, tables, rls: { secret } }
  const manager = createManager(options)
  await manager.init()
  await pool.query(sharedTables)
  await manager.protect()
  const database = openDatabase(resolveDatabaseOptions(options))
  await database.boot()
  return {
    tenants: await pair(async name =>
      placeTenant(database, name, await manager.create({ id: name, slug: `slug-of-${name}` }))
    ),
    adminOf: () => undefined,
    values: () => valuesOf([{ client: pool, notes: 'public.notes' }]),
    isRewritten: false,
    databaseName: 'postgres'
  }
}

/** The two tenants, each with its rows. */
export async function pair (
  make: (name: string) => Promise<PlaceTenant>,
  fill: (tenant: PlaceTenant) => Promise<void> = fillByHandle
): Promise<readonly [PlaceTenant, PlaceTenant]> {
  const tenants = [await make(names[0]), await make(names[1])] as const
  for (const tenant of tenants) await fill(tenant)
  return tenants
}

async function fillByHandle ({ name, request }: PlaceTenant): Promise<void> {
  const { db } = request()
  await db.insertInto('notes').values(notes.map(n => ({ n, body: tagged(name, n) }))).execute()
  await db.insertInto('projects').values({ name: tagged(name, project) }).execute()
}

function placeTenant (database: DatabaseRuntime, name: string, tenant: Tenant): PlaceTenant {
  return {
    id: tenant.id,
    name,
    request (statementTimeout) {
      const scope = new TenantScope(tenant, silent)
      return { scope, db: database.forScope(scope, statementTimeout) as unknown as Kysely<Rows> }
    }
  }
}

/** Every value in the tenants' tables. */
export async function valuesOf (
  admins: readonly { client: Pick<pg.Client, 'query'>; notes: string }[]
): Promise<string[]> {
  const read = await Promise.all(
    admins.map(({ client, notes }) =>
      client.query<{ value: string }>(
        `select body || ' ' || n as value from ${notes} union all select name from ${
          notes.replace(/notes$/, 'projects')
        }`
      )
    )
  )
  return read.flatMap(({ rows }) => rows.map(({ value }) => value)).toSorted()
}
