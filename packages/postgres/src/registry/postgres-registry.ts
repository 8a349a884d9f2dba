import { boundsProblem, toTenant, idProblem, slugProblem, tenantConflict, TenantUnknownError,
  type TenantChanges, type TenantFilter, type TenantInput, type TenantRecord,
  type TenantRegistry } from '@fastify-tenancy/core'

import { sqlState, type SqlClient } from '../client/sql-client.ts'
import { SetupInvalidError } from '../errors.ts'
import type { TenantColumnType } from '../tables/table-facts.ts'
import { selectTenant } from './find-tenant.ts'
import { insertTenant } from './insert-tenant.ts'
import { listTenants } from './list-tenants.ts'
import { updateTenantRow } from './update-tenant.ts'
import { watchTenants, type OpenListener } from './watch-tenants.ts'

export interface PostgresRegistryOptions {
  /** The types of the tenant columns: an id that one of them would write in another way is refused at insert. @default none */
  readonly idTypes?: readonly TenantColumnType[]
  /** Opens the connection on which changes are heard; kept open while anyone watches. Not through a pooler that shares connections. @default the registry has no `watch` */
  readonly listen?: OpenListener
  /** Called while anyone watches, after a migration changed tables, and whenever one may have. @default nothing is done */
  readonly onCatalog?: () => void
}

/**
 * The registry in schema `tenancy`, as `tenancy init` makes it.
 *
 * @param client a `pg.Pool`, which the caller closes. Look-ups need a login of the registry's or the application's;
 * `list` one of the registry's; `insert` and `update` one of the owner's.
 */
export function postgresRegistry (client: SqlClient, options: PostgresRegistryOptions = {}): TenantRegistry {
  const { idTypes = [], listen, onCatalog } = options
  return new PostgresRegistry(client, idTypes, listen, onCatalog)
}

const pageSize = 500

class PostgresRegistry implements TenantRegistry {
  readonly #client: SqlClient
  readonly #idTypes: readonly TenantColumnType[]

  /** There only where changes can be heard. */
  readonly watch?: NonNullable<TenantRegistry['watch']>

  constructor (
    client: SqlClient,
    idTypes: readonly TenantColumnType[],
    listen: OpenListener | undefined,
    onCatalog: (() => void) | undefined
  ) {
    this.#client = client
    this.#idTypes = idTypes
    if (listen !== undefined)
      this.watch = listener =>
        watchTenants(listen, listener, { reader: client, ...(onCatalog && { onCatalog }) })
  }

  // A name that breaks its rule is nobody's, and costs no look-up.
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
    if (stamp === undefined) throw tenantConflict('the tenant was changed by somebody else: read it again')
    return toTenant({ ...tenant, ...stamp })
  }

  // '007' and '7' are one bigint, and upper-case and hyphenless uuids one uuid: two tenants would share their rows.
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
      throw tenantConflict(`the id must be written as a tenant column of type ${type} writes it`)
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
    'this login looks single tenants up, and may not list them: give options.database.registryUrl, and run `tenancy init` with it',
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
