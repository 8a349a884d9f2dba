import { toTenant, idProblem, slugProblem, TenantUnknownError, type TenantChange, type TenantChanges,
  type TenantFilter, type TenantInput, type TenantRecord, type TenantRegistry } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
import { boundsProblem } from '@fastify-tenancy/core/names'

import { sqlState, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import type { TenantColumnType } from '../tables/table-facts.ts'
import { selectTenant } from './find-tenant.ts'
import { insertTenant } from './insert-tenant.ts'
import { listTenants } from './list-tenants.ts'
import { updateTenantRow } from './update-tenant.ts'
import { watchTenants, type OpenListener } from './watch-tenants.ts'

export interface PostgresRegistryOptions {
  /**
   * The types of the tenant columns. Insert refuses an id that one of these types would write
   * differently.
   * @default none
   */
  readonly idTypes?: readonly TenantColumnType[]
  /**
   * Opens the connection that LISTENs for changes, open while `watch` is in use. It must not go
   * through a transaction pooler.
   * @default the registry has no `watch`
   */
  readonly listen?: OpenListener
  /**
   * Passes on the changes of an embedded database, which has no connection for LISTEN. Returns the
   * function that ends it.
   */
  readonly onChange?: (listener: (change: TenantChange) => void) => () => void
  /**
   * Called while `watch` is in use, whenever a migration may have changed tables.
   * @default no call
   */
  readonly onCatalog?: () => void
}

/**
 * Returns the registry in schema `tenancy`, which `tenancy init` creates.
 *
 * @param client a `pg.Pool`, which the caller closes. Look-ups need the registry's or the
 * application's login, `list` the registry's login, `insert` and `update` the owner's login.
 */
export function postgresRegistry (client: SqlClient, options: PostgresRegistryOptions = {}): TenantRegistry {
  return new PostgresRegistry(client, options)
}

const pageSize = 500

class PostgresRegistry implements TenantRegistry {
  readonly #client: SqlClient
  readonly #idTypes: readonly TenantColumnType[]

  /** Defined only if the caller gave `listen` or `onChange`. */
  readonly watch?: NonNullable<TenantRegistry['watch']>

  constructor (
    client: SqlClient,
    { idTypes = [], listen, onChange, onCatalog }: PostgresRegistryOptions
  ) {
    this.#client = client
    this.#idTypes = idTypes
    if (onChange !== undefined) {
      this.watch = async listener => {
        const end = onChange(listener)
        return Object.assign(async () => end(), { isHearing: () => true })
      }
    }
    if (listen !== undefined)
      this.watch = listener =>
        watchTenants(listen, listener, { reader: client, ...(onCatalog && { onCatalog }) })
  }

  // A slug that breaks the rules belongs to no tenant, so it costs no look-up.
  async findBySlug (slug: string): Promise<TenantRecord | undefined> {
    return slugProblem(slug, []) === undefined ? selectTenant(this.#client, 'slug', slug) : undefined
  }

  async findByDomain (domain: string): Promise<TenantRecord | undefined> {
    return /^[a-z0-9.-]{1,253}$/.test(domain) ? selectTenant(this.#client, 'domain', domain) : undefined
  }

  async findById (id: string): Promise<TenantRecord | undefined> {
    return idProblem(id) === undefined ? selectTenant(this.#client, 'id', id) : undefined
  }

  async *list (filter: TenantFilter = {}): AsyncIterable<TenantRecord> {
    let after = ''
    for (;;) {
      const page = await listTenants(this.#client, filter, after, pageSize).catch(explainList)
      yield* page
      if (page.length < pageSize) return
      after = page.at(-1)?.id ?? ''
    }
  }

  async insert (input: TenantInput): Promise<TenantRecord> {
    const tenant = toTenant(input)
    assertBounds(tenant)
    for (const type of this.#idTypes) await this.#checkIdType(tenant.id, type)
    const stamp = await insertTenant(this.#client, tenant).catch(refuse)
    return toTenant({ ...tenant, ...stamp })
  }

  async update (id: string, expectedVersion: number, changes: TenantChanges): Promise<TenantRecord> {
    const old = await this.findById(id)
    if (old === undefined) throw new TenantUnknownError()
    assertBounds(changes)
    const tenant = toTenant({ ...old, ...changes, id })
    const stamp = await updateTenantRow(this.#client, tenant, expectedVersion).catch(refuse)
    if (stamp === undefined)
      throw tenantConflict('the tenant was changed by another writer meanwhile: read it again')
    return toTenant({ ...tenant, ...stamp })
  }

  // '007' and '7' are one bigint, and upper-case and hyphenless uuids are one uuid. Two such
  // tenants would share their rows.
  async #checkIdType (id: string, type: TenantColumnType): Promise<void> {
    const { rows: [row] } = await this.#client.query<{ same: boolean }>(
      `select $1::text::${type}::text = $1 as same`,
      [id]
    )
      .catch((error: unknown) => {
        if (sqlState(error)?.startsWith('22')) return { rows: [] }
        throw error
      })
    if (row?.same !== true)
      throw tenantConflict(
        `a tenant column of type ${type} would change the id: choose an id that ${type} stores unchanged`
      )
  }
}

function assertBounds (tenant: Parameters<typeof boundsProblem>[0]): void {
  const problem = boundsProblem(tenant)
  if (problem !== undefined) throw tenantConflict(problem)
}

const conflicts: Readonly<Record<string, string>> = {
  names_slug: 'the slug is taken, or was given up within the last 30 days',
  tenants_slug: 'the slug is taken',
  names_id: 'the id is taken',
  tenants_pkey: 'the id is taken',
  tenants_check: 'an id and a slug must differ',
  domains_verified: 'the domain is taken',
  domains_bound: 'a tenant has at most 100 domains, claims included'
}

function explainList (error: unknown): never {
  if (sqlState(error) !== '42501') throw error
  throw new SetupInvalidError(
    'this login may look up single tenants but not list them: set options.database.registryUrl, ' +
      'and run `tenancy init` with it',
    { cause: error }
  )
}

function refuse (error: unknown): never {
  const state = sqlState(error)
  const constraint = error instanceof Error && 'constraint' in error ? String(error.constraint) : ''
  if (state === '23505') throw tenantConflict(conflicts[constraint] ?? 'the slug, id or domain is taken')
  if (state === '23514')
    throw tenantConflict(conflicts[constraint] ?? 'the tenant breaks a rule of the registry')
  throw error
}
