import { toTenant, idProblem, slugProblem, type TenantFilter, type TenantInput, type TenantRecord,
  type TenantRegistry } from '@fastify-tenancy/core'
import { InternalError, InternalTypeError } from '@fastify-tenancy/core/errors'
import { checkOptions, fn, nonEmptyString } from '@fastify-tenancy/core/options'
import * as v from 'valibot'

import { quoteName, type SqlClient } from '../client/sql-client.ts'

/**
 * The columns that hold a tenant's properties. Other properties come from `map` or have a default.
 */
export interface TableColumns {
  readonly id: string
  readonly slug: string
  readonly name?: string
  readonly status?: string
  readonly plan?: string
  readonly isolation?: string
  readonly shard?: string
  readonly schema?: string
  readonly database?: string
  readonly settings?: string
  /** One verified custom domain. Without this column, tenants have no custom domains. */
  readonly domain?: string
  readonly createdAt?: string
  readonly updatedAt?: string
}

export interface TableRegistryOptions {
  /** `'organizations'` or `'public.organizations'`. */
  readonly table: string
  readonly columns: TableColumns
  /**
   * Converts a row to properties that the columns do not hold in the suite's form:
   * `row => ({ status: row.blocked ? 'suspended' : 'active' })`.
   */
  readonly map?: (row: Readonly<Record<string, unknown>>) => Partial<TenantInput>
  /**
   * A `pg.Pool`, which the caller closes.
   * @default the application's connections of `registryUrl`, or of `url`
   */
  readonly client?: SqlClient
}

const column = v.optional(nonEmptyString)
const schema = v.strictObject({
  table: nonEmptyString,
  columns: v.strictObject({
    id: nonEmptyString,
    slug: nonEmptyString,
    name: column,
    status: column,
    plan: column,
    isolation: column,
    shard: column,
    schema: column,
    database: column,
    settings: column,
    domain: column,
    createdAt: column,
    updatedAt: column
  }, "must be a map of a tenant's properties to columns"),
  map: v.optional(fn<NonNullable<TableRegistryOptions['map']>>()),
  client: v.optional(
    v.custom<SqlClient>(
      value => typeof value === 'object' && value !== null && 'query' in value,
      'must be a pg.Pool'
    )
  )
}, 'must be an object')

/**
 * Returns a registry over a table of the application's own. The suite only reads it; the
 * application keeps writing it.
 *
 * ```sql
 * select * from "organizations" where "subdomain" = $1
 * ```
 *
 * The login of `registryUrl` (without it, that of `url`) must be allowed to read the table, also
 * past the table's policies.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function tableRegistry (options: TableRegistryOptions): TenantRegistry {
  return new TableRegistry(checkOptions(schema, options) as TableRegistryOptions)
}

const pageSize = 500

const filtered = ['status', 'plan', 'isolation', 'shard'] as const
const { status, plan, isolation, placement: { shard } } = toTenant({ id: 'id', slug: 'slug' })
const defaults: Readonly<Record<(typeof filtered)[number], string>> = { status, plan, isolation, shard }

export class TableRegistry implements TenantRegistry {
  readonly #options: TableRegistryOptions
  readonly #table: string
  #client: SqlClient | undefined

  constructor (options: TableRegistryOptions) {
    this.#options = options
    this.#client = options.client
    this.#table = options.table.split('.').map(quoteName).join('.')
  }

  /** Uses the application's connections, unless `client` was given. */
  connect (client: SqlClient): void {
    this.#client ??= client
  }

  // A slug that breaks the rules belongs to no tenant, so it costs no look-up.
  async findBySlug (slug: string): Promise<TenantRecord | undefined> {
    return slugProblem(slug, []) === undefined ? this.#find(this.#options.columns.slug, slug) : undefined
  }

  async findById (id: string): Promise<TenantRecord | undefined> {
    return idProblem(id) === undefined ? this.#find(this.#options.columns.id, id) : undefined
  }

  async findByDomain (domain: string): Promise<TenantRecord | undefined> {
    const { domain: own } = this.#options.columns
    return own === undefined ? undefined : this.#find(own, domain)
  }

  /**
   * Lists tenants in the order of the id's own type, so that the id's index serves each page.
   * The filter is part of the query if `columns` has the filtered property and there is no `map`.
   * An index such as `create index on organizations (tier, id)` then avoids reading the other rows.
   */
  async *list (filter: TenantFilter = {}): AsyncIterable<TenantRecord> {
    const id = quoteName(this.#options.columns.id)
    for (let after: string | undefined;;) {
      const values: unknown[] = []
      const conditions = this.#conditions(filter, values)
      if (after !== undefined) conditions.push(`${id} > $${values.push(after)}`)
      const where = conditions.length === 0 ? '' : ` where ${conditions.join(' and ')}`
      const rows = await this.#query(
        `select * from ${this.#table}${where} order by ${id} limit ${pageSize}`,
        values
      )
      const page = rows.map(row => this.#read(row))
      yield* page.filter(tenant => fits(tenant, filter))
      if (page.length < pageSize) return
      after = page.at(-1)?.id
    }
  }

  // `map` may override the column, so it disables the filter. A null column means the default
  // value.
  #conditions (filter: TenantFilter, values: unknown[]): string[] {
    const { columns, map } = this.#options
    if (map !== undefined) return []
    return filtered.flatMap(property => {
      const [column, wanted] = [columns[property], filter[property]]
      if (column === undefined || wanted === undefined) return []
      const name = quoteName(column)
      const among = [wanted].flat().map(value => `${name} = $${values.push(value)}`)
      if ([wanted].flat().includes(defaults[property])) among.push(`${name} is null`)
      return [`(${among.join(' or ') || 'false'})`]
    })
  }

  insert (): Promise<TenantRecord> {
    return Promise.reject(readOnly())
  }

  update (): Promise<TenantRecord> {
    return Promise.reject(readOnly())
  }

  // Compares the key as the column's own type, to use its index. A value that the type refuses
  // belongs to no tenant.
  async #find (column: string, key: string): Promise<TenantRecord | undefined> {
    try {
      const [row] = await this.#query(`select * from ${this.#table} where ${quoteName(column)} = $1`, [key])
      if (row === undefined) return undefined
      const tenant = this.#read(row)
      // '007' finds the bigint 7, and an upper-case uuid the lower-case uuid. Neither is the
      // tenant's id.
      return column === this.#options.columns.id && tenant.id !== key ? undefined : tenant
    } catch (error) {
      if (error instanceof Error && 'code' in error && (error.code === '22P02' || error.code === '22003'))
        return undefined
      throw error
    }
  }

  async #query (text: string, values: unknown[]): Promise<Record<string, unknown>[]> {
    if (this.#client === undefined)
      throw new InternalTypeError(
        'this registry has no connection: pass it to the suite as `registry`, or set its option `client`'
      )
    return (await this.#client.query<Record<string, unknown>>(text, values)).rows
  }

  #read (row: Record<string, unknown>): TenantRecord {
    const { id, slug, shard, schema, database, domain, ...others } = this.#options.columns
    const placement = present({
      shard: valueOf(row, shard),
      schema: valueOf(row, schema),
      database: valueOf(row, database)
    })
    const domainName = valueOf(row, domain)
    // A missing date is the same at each look-up.
    const createdAt = valueOf(row, others.createdAt) ?? new Date(0)
    const input = {
      createdAt,
      updatedAt: createdAt,
      ...present(
        Object.fromEntries(Object.entries(others).map(([property, column]) => [property, row[column]]))
      ),
      placement: { shard: 'default', ...placement },
      domains: domainName === undefined ? [] : [String(domainName)],
      ...this.#options.map?.(row),
      id: String(row[id]),
      slug: String(row[slug])
    }
    return toTenant(v.parse(tenantShape, input) as TenantInput)
  }
}

// A value that this version does not understand is an error. Guessing could serve a blocked tenant.
const tenantShape = v.looseObject({
  name: v.optional(v.string()),
  status: v.optional(v.picklist(['provisioning', 'active', 'suspended', 'deleting', 'deleted'])),
  plan: v.optional(v.string()),
  isolation: v.optional(v.picklist(['rls', 'row', 'schema', 'database'])),
  settings: v.optional(v.record(v.string(), v.unknown()))
})

function valueOf (row: Record<string, unknown>, column: string | undefined): unknown {
  return column === undefined ? undefined : row[column] ?? undefined
}

function present (values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined && value !== null)
  )
}

function fits (tenant: TenantRecord, { status, plan, isolation, shard }: TenantFilter): boolean {
  return (status?.includes(tenant.status) ?? true) && (plan ?? tenant.plan) === tenant.plan &&
    (isolation ?? tenant.isolation) === tenant.isolation &&
    (shard ?? tenant.placement.shard) === tenant.placement.shard
}

function readOnly (): Error {
  return new InternalError(
    "this registry reads a table of the application's own: create and change tenants there"
  )
}
