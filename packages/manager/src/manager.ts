import { slugProblem, tenantConflict, type TenantFilter, type TenantInput, type TenantRecord, type TenantRef, type TenantRegistry } from '@fastify-tenancy/core'
import { defaultPoolSettings, init, openPool, postgresRegistry, protect, tenantColumnTypes, type SqlClient } from '@fastify-tenancy/database'
import { randomUUID } from 'node:crypto'
import type pg from 'pg'

import { loginsOf } from './logins.ts'
import { resolveManagerOptions, type ManagerOptions, type ResolvedManagerOptions } from './options.ts'

/** What {@link Manager.create} makes a tenant from. */
export interface CreateInput extends Pick<TenantInput, 'slug' | 'name' | 'plan' | 'settings' | 'domains'> {
  /** @default a random uuid */
  readonly id?: string
}

export interface InitInput {
  /** A login that may create roles, for this one call. @default the manager's own */
  readonly url?: string
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
  readonly #pool: pg.Pool
  readonly #isOwnPool: boolean
  readonly #registry: TenantRegistry

  constructor (options: ResolvedManagerOptions) {
    const { url, ownerUrl } = options.database
    const source = ownerUrl ?? url
    this.#options = options
    this.#isOwnPool = typeof source === 'string'
    this.#pool = typeof source === 'string' ? openManagerPool(source) : source
    this.#registry = postgresRegistry(this.#pool)
  }

  /**
   * Creates roles, the schema `tenancy`, missing logins and the signing keys. Runs as often as one likes, also several at once.
   *
   * @throws FST_TENANCY_SETUP_INVALID when the login may not create roles.
   */
  async init (input: InitInput = {}): Promise<void> {
    const { database, rls } = this.#options
    const work = (client: SqlClient): Promise<void> => init(client, {
      logins: loginsOf(database),
      ...(rls.secrets.length > 0 && { signingSecrets: rls.secrets })
    })
    if (input.url === undefined) return this.#withClient(work)
    const pool = openManagerPool(input.url)
    try {
      await withClient(pool, work)
    } finally {
      await pool.end()
    }
  }

  /**
   * Puts the tables of `options.tables` under their policies and privileges: after each migration that makes a table.
   *
   * @throws FST_TENANCY_SETUP_INVALID when a table cannot be protected; then none was changed.
   */
  async protect (): Promise<void> {
    const { tables, rls } = this.#options
    await this.#withClient(client => protect(client, { tables, signed: rls.secrets.length > 0 }))
  }

  /**
   * Creates a tenant, ready to be served. `domains` are taken for verified.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT when slug, id or a domain is taken, reserved or breaks its rule; a slug
   * that was given up is free again after 30 days.
   */
  async create (input: CreateInput): Promise<TenantRecord> {
    const { id = randomUUID(), slug, name, plan, settings, domains } = input
    const problem = slugProblem(slug, this.#options.reserved)
    if (problem !== undefined) throw tenantConflict(problem)
    // An id is a value of every tenant column, so the columns' types have a say.
    const idTypes = await tenantColumnTypes(this.#pool, this.#options.tables)
    return postgresRegistry(this.#pool, { idTypes }).insert({
      id,
      slug,
      isolation: this.#options.isolation,
      status: 'active',
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
    if (this.#isOwnPool) await this.#pool.end()
  }

  #withClient<T> (work: (client: SqlClient) => Promise<T>): Promise<T> {
    return withClient(this.#pool, work)
  }
}

// The manager works on one thing at a time; the second connection serves a list that is read meanwhile.
function openManagerPool (url: string): pg.Pool {
  const pool = openPool(url, { ...defaultPoolSettings, max: 2 })
  // A lost connection fails the call that uses it; unheard, the event would end the process.
  pool.on('error', () => {})
  pool.on('connect', client => client.on('error', () => {}))
  return pool
}

async function withClient<T> (pool: pg.Pool, work: (client: SqlClient) => Promise<T>): Promise<T> {
  const client = await pool.connect()
  try {
    return await work(client)
  } finally {
    client.release()
  }
}
