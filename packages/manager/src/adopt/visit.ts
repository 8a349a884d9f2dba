import { SetupInvalidError } from '@fastify-tenancy/postgres'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { inspectTable, tenantColumnTypes, type ResolvedTables, type TableFacts,
  type TenantColumnType } from '@fastify-tenancy/postgres/tables'

import type { ResolvedAdoptionOptions } from '../context/adopt-options.ts'
import { hasUnfilled, inspectForPrepare, type PrepareFacts } from './inspect.ts'
import { columnType, expressionType, findSource, type BackfillSource } from './source.ts'
import { redoOf, type TableToPrepare } from './steps.ts'

/** Plans tables, parents first, because a child's column is filled from its parent's. */
export class Visit {
  readonly #client: SqlClient
  readonly #tables: ResolvedTables
  readonly #adoption: ResolvedAdoptionOptions
  readonly #types = new Map<string, TenantColumnType>()
  readonly #redone = new Set<string>()

  constructor (client: SqlClient, tables: ResolvedTables, adoption: ResolvedAdoptionOptions) {
    this.#client = client
    this.#tables = tables
    this.#adoption = adoption
  }

  /** The tables that have their column, or will get it. */
  get prepared (): readonly string[] {
    return [...this.#types.keys()]
  }

  /**
   * Returns the plans of a table and of its parents before it, except tables that were visited
   * before.
   */
  async plan (table: string, path: readonly string[] = []): Promise<TableToPrepare[]> {
    if (this.#types.has(table)) return []
    if (path.includes(table))
      throw new SetupInvalidError(
        `tables ${
          [...path, table].join(' → ')
        } would get their tenants from each other: set options.adoption.backfill of one of them`
      )
    const { schema, tenant } = this.#tables
    const column = tenant[table]
    if (column === undefined)
      throw new SetupInvalidError(`'${table}' is not a tenant table: add it to options.tables.tenant`)
    const facts = await inspectTable(this.#client, schema, table)
    const found = await inspectForPrepare(this.#client, facts.oid, column)
    const source = await this.#source(table, column, facts, found)
    const before = source?.parent === undefined ? [] : await this.plan(source.parent, [...path, table])
    const type = await this.#type(table, facts, found, source)
    this.#types.set(table, type)
    const plan = { table, column, type, facts, found, source }
    const redo = redoOf(plan, this.#redone.has(source?.parent ?? ''))
    if (redo !== undefined) this.#redone.add(table)
    return [...before, { ...plan, redo }]
  }

  /**
   * Returns the plans of tables that an earlier call prepared and that must be filled again because
   * their parent must.
   */
  async planRedone (): Promise<TableToPrepare[]> {
    const plans: TableToPrepare[] = []
    const { schema, tenant } = this.#tables
    for (const [table, column] of Object.entries(tenant)) {
      if (this.#redone.size === 0 || this.#types.has(table) || this.#adoption.backfill[table] === false)
        continue
      const { oid } = await inspectTable(this.#client, schema, table)
      const { fill } = await inspectForPrepare(this.#client, oid, column)
      if (fill !== undefined) plans.push(...await this.plan(table))
    }
    return plans.filter(({ redo }) => redo !== undefined)
  }

  async #source (
    table: string,
    column: string,
    facts: TableFacts,
    found: PrepareFacts
  ): Promise<BackfillSource | undefined> {
    const isMissing = found.type === undefined ||
      (!found.isRequired && await hasUnfilled(this.#client, facts.name, column))
    // `observe` replaces the column's default, which legacy code relies on. The fill trigger takes
    // over its expression.
    if (
      !isMissing && !found.isEnforced && found.ownDefault !== undefined && !(table in this.#adoption.backfill)
    )
      return {
        expression: `(${found.ownDefault})`,
        keyColumns: [],
        says: `its own default, ${found.ownDefault}`
      }
    // A fill trigger shows that an earlier call filled the rows, possibly by another rule.
    const source = isMissing || table in this.#adoption.backfill || found.fill !== undefined
      ? await findSource(this.#client, this.#adoption, this.#tables, table, facts)
      : undefined
    if (isMissing && source === undefined) {
      throw new SetupInvalidError(
        `nothing identifies the tenant of rows of table '${table}': set options.adoption.backfill.${table} ` +
          "({ parent: 'table' }, { value: 'id' } or { sql: 'expression' })"
      )
    }
    return source
  }

  async #type (
    table: string,
    facts: TableFacts,
    found: PrepareFacts,
    source: BackfillSource | undefined
  ): Promise<TenantColumnType> {
    if (found.type !== undefined) {
      const type = columnType(found.type)
      if (type === undefined)
        throw new SetupInvalidError(
          `the tenant column of '${table}' must be of type text, uuid, int or bigint, but is ${found.type}`
        )
      return type
    }
    const input = this.#adoption.backfill[table]
    const wanted = this.#adoption.type ??
      (source?.parent === undefined ? undefined : this.#types.get(source.parent))
    if (wanted !== undefined) return wanted
    if (input !== undefined && input !== false && 'sql' in input) {
      const type = await expressionType(
        this.#client,
        table,
        facts,
        source?.expression ?? '',
        Object.values(this.#tables.tenant)
      )
      if (type !== undefined) return type
    }
    const known = new Set([...this.#types.values(), ...await tenantColumnTypes(this.#client, this.#tables)])
    const [only] = known
    if (only === undefined || known.size > 1)
      throw new SetupInvalidError(
        `the type of the tenant column of '${table}' cannot be inferred: set options.adoption.type`
      )
    return only
  }
}
