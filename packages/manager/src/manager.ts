import { idProblem, slugProblem, TenantConflictError, tenantConflict, tenantIdentifier, type Isolation, type TenantFilter, type TenantInput, type TenantRecord, type TenantRef, type TenantRegistry } from '@fastify-tenancy/core'
import { forgetTenant, init, postgresRegistry, protect, tenantColumnTypes, type SqlClient } from '@fastify-tenancy/database'
import { randomUUID } from 'node:crypto'

import { loginsOf } from './logins.ts'
import { resolveManagerOptions, type ManagerOptions, type ResolvedManagerOptions } from './options.ts'
import { needsProvisioning, provisionTenant } from './provision.ts'
import { openManagerPool, ShardPools, withClient } from './shard-pools.ts'

/** What {@link Manager.create} makes a tenant from. */
export interface CreateInput extends Pick<TenantInput, 'slug' | 'name' | 'plan' | 'settings' | 'domains'> {
  /** @default a random uuid */
  readonly id?: string
  /** @default the manager's `isolation` */
  readonly isolation?: Isolation
  /** @default 'default' */
  readonly shard?: string
  /** The name of its database, or what `tenants.decrypt` makes its URL of. For strategy `database`. @default 'tenant_<id>' */
  readonly database?: string
}

export interface InitInput {
  /** A login that may create roles, for this one call. @default the manager's own */
  readonly url?: string
  /** Whether tenants may get roles or schemas of their own: the login of `ownerUrl` may then create roles. @default where the manager's own options ask for them */
  readonly tenantRoles?: boolean
  /** The like of `url` for each shard. @default the manager's own */
  readonly shards?: Readonly<Record<string, string>>
}

/**
 * Makes the manager of the tenants of one application. It works with the login of `database.ownerUrl`,
 * or of `database.url` where there is none; nothing connects before the first call.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function createManager (options: ManagerOptions): Manager {
  return new Manager(resolveManagerOptions(options))
}

/** Sets databases up and takes tenants through their lives. Made by {@link createManager}. */
export class Manager {
  readonly #options: ResolvedManagerOptions
  readonly #shards: ShardPools
  readonly #registry: TenantRegistry

  constructor (options: ResolvedManagerOptions) {
    this.#options = options
    this.#shards = new ShardPools(options.database)
    this.#registry = postgresRegistry(this.#shards.get('default'))
  }

  /**
   * Creates roles, the schema `tenancy`, missing logins and the signing keys, on every shard. Runs as often as one likes, also several at once.
   *
   * @throws FST_TENANCY_SETUP_INVALID when the login may not create roles.
   */
  async init (input: InitInput = {}): Promise<void> {
    const urls: Readonly<Record<string, string | undefined>> = { ...input.shards, default: input.url }
    for (const shard of this.#shards.names) await this.#initShard(shard, urls[shard], input.tenantRoles)
  }

  async #initShard (shard: string, url: string | undefined, tenantRoles?: boolean): Promise<void> {
    const { isolation, rls } = this.#options
    const work = (client: SqlClient): Promise<void> => init(client, {
      logins: loginsOf(this.#shards.logins(shard)),
      tenantRoles: tenantRoles ?? (isolation === 'schema' || rls.context === 'role'),
      ...(rls.secrets.length > 0 && { signingSecrets: rls.secrets })
    })
    if (url === undefined) return withClient(this.#shards.get(shard), work)
    const pool = openManagerPool(url)
    try {
      await withClient(pool, work)
    } finally {
      await pool.end()
    }
  }

  /**
   * Puts the tables of `options.tables` under their policies and privileges, on every shard: after each migration that makes a table.
   *
   * @throws FST_TENANCY_SETUP_INVALID when a table cannot be protected; then none was changed.
   */
  async protect (): Promise<void> {
    const { tables, rls } = this.#options
    for (const shard of this.#shards.names) {
      await withClient(this.#shards.get(shard), client => protect(client, { tables, signed: rls.secrets.length > 0, context: rls.context }))
    }
  }

  /**
   * Creates a tenant, ready to be served, with the role, the schema or the database that its strategy needs. `domains` are taken for verified.
   * A creation that was cut short is taken up again by the same call.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT when slug, id or a domain is taken, reserved or breaks its rule; a slug
   * that was given up is free again after 30 days.
   */
  async create (input: CreateInput): Promise<TenantRecord> {
    const { slug, isolation = this.#options.isolation } = input
    const problem = slugProblem(slug, this.#options.reserved)
    if (problem !== undefined) throw tenantConflict(problem)
    this.#shards.logins(input.shard ?? 'default')
    return withClient(this.#shards.get('default'), client => needsProvisioning({ isolation }, this.#options)
      ? alone(client, slug, () => this.#createProvisioned(client, { ...input, isolation }))
      : this.#insert(client, { ...input, isolation }, 'active'))
  }

  // Only one at a time: whoever finds a tenant here that is not ready knows that nobody is at work on it.
  async #createProvisioned (client: SqlClient, input: CreateInput & { isolation: Isolation }): Promise<TenantRecord> {
    const registry = postgresRegistry(client)
    const old = await registry.findBySlug(input.slug)
    const isLeftOver = old?.status === 'provisioning' && old.isolation === input.isolation && (input.id === undefined || input.id === old.id)
    const tenant = isLeftOver ? old : await this.#insert(client, input, 'provisioning')
    try {
      await provisionTenant(tenant, this.#options, this.#shards, client)
    } catch (error) {
      // Its name is somebody else's: it will never be ready.
      if (error instanceof TenantConflictError) await forgetTenant(client, tenant.id)
      throw error
    }
    return registry.update(tenant.id, tenant.version, { status: 'active' })
  }

  async #insert (client: SqlClient, input: CreateInput & { isolation: Isolation }, status: 'active' | 'provisioning'): Promise<TenantRecord> {
    const { id = randomUUID(), slug, isolation, shard = 'default', database, name, plan, settings, domains } = input
    // An id is a value of every tenant column, so the columns' types have a say.
    const idTypes = await tenantColumnTypes(client, this.#options.tables)
    return postgresRegistry(client, { idTypes }).insert({
      id,
      slug,
      isolation,
      status,
      placement: {
        shard,
        // Written down, so that it stays whatever a later version would call it. Not made of an id that is refused anyway.
        ...(isolation === 'schema' && idProblem(id) === undefined && { schema: tenantIdentifier(id) }),
        ...(isolation === 'database' && idProblem(id) === undefined && { database: database ?? tenantIdentifier(id) })
      },
      ...(name !== undefined && { name }),
      ...(plan !== undefined && { plan }),
      ...(settings !== undefined && { settings }),
      ...(domains !== undefined && { domains: domains.map(domain => domain.toLowerCase()) })
    })
  }

  /** The tenant of this id or slug, whatever its status; undefined for nobody. */
  async get (ref: TenantRef): Promise<TenantRecord | undefined> {
    return 'id' in ref ? this.#registry.findById(ref.id) : this.#registry.findBySlug(ref.slug)
  }

  /** All tenants, by id. */
  list (filter?: TenantFilter): AsyncIterable<TenantRecord> {
    return this.#registry.list(filter)
  }

  /** Closes the manager's connections; a pool that was passed in stays open. */
  async close (): Promise<void> {
    await this.#shards.close()
  }
}

async function alone<T> (client: SqlClient, slug: string, work: () => Promise<T>): Promise<T> {
  const key = `tenancy create ${slug}`
  const { rows: [row] } = await client.query<{ got: boolean }>('select pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1, 0)) as got', [key])
  if (row?.got !== true) throw tenantConflict('a tenant of this slug is being created at this moment')
  try {
    return await work()
  } finally {
    await client.query('select pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended($1, 0))', [key])
  }
}
