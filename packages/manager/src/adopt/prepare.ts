import { inspectTable, listTables, Script, SetupInvalidError, tenantColumnTypes, type ResolvedTables,
  type SqlClient, type TableFacts, type TenantColumnType, quoteName } from '@fastify-tenancy/database'

import { backfill, backfillScript } from './backfill.ts'
import { hasUnfilled, inspectForPrepare, type PrepareFacts } from './inspect.ts'
import type { ResolvedAdoptionOptions } from './options.ts'
import { Patience } from './patience.ts'
import { disagreements } from './disagreements.ts'
import { columnType, expressionType, findSource, type Source } from './source.ts'
import { stepsOf, type TableToPrepare } from './steps.ts'

export interface PrepareOptions {
  readonly tables: ResolvedTables
  /** The tables to prepare. @default all tenant tables */
  readonly only?: readonly string[] | undefined
  readonly adoption: ResolvedAdoptionOptions
  /** Told what was just done to a table, and how many pages of it were filled. */
  readonly onStep: (step: string, done?: number, total?: number) => void
}

/**
 * Gives every tenant table its tenant column, filled in, `not null` and indexed, while the application goes on working: see
 * `stepsOf`. Whatever happens in the middle, the same call goes on from what the catalog says.
 *
 * @param client one connection of a login that owns the tables; not through a pooler that shares connections.
 * @throws FST_TENANCY_SETUP_INVALID
 */
export async function prepare (
  client: SqlClient,
  { tables: listed, only, adoption, onStep }: PrepareOptions
): Promise<void> {
  const tables = await listTables(client, listed)
  const names = only ?? Object.keys(tables.tenant).filter(name => adoption.backfill[name] !== false)
  const patience = new Patience(client, {
    ...adoption,
    onWait: what => onStep(`${what}: waiting for its lock`)
  })
  // A long statement is what this is for, and expressions find tables as the trigger will.
  await client.query(`set statement_timeout = 0; set search_path = ${quoteName(tables.schema)}, pg_temp`)
  try {
    const visit = new Visit(client, tables, adoption)
    for (const table of names) {
      for (const plan of await visit.plan(table)) {
        for (const step of stepsOf(plan)) {
          const title = `${plan.table}: ${step.name}`
          if ('sql' in step) await patience.run(title, step.sql, step.isBlocking)
          else if (client instanceof Script) await client.query(backfillScript(step))
          else await backfill(client, patience, step, (done, total) => onStep(title, done, total))
          if ('sql' in step) onStep(title)
        }
      }
    }
    for (const sql of await disagreements(client, tables, visit.prepared))
      await patience.run('the tables agree', sql, false)
  } finally {
    await patience.end()
    await client.query('reset statement_timeout; reset search_path').catch(() => {})
  }
}

/** Goes through the tables, parents first: the column of a child comes from its parent's. */
class Visit {
  readonly #client: SqlClient
  readonly #tables: ResolvedTables
  readonly #adoption: ResolvedAdoptionOptions
  readonly #types = new Map<string, TenantColumnType>()

  constructor (client: SqlClient, tables: ResolvedTables, adoption: ResolvedAdoptionOptions) {
    this.#client = client
    this.#tables = tables
    this.#adoption = adoption
  }

  /** The tables that have their column now, or would have it. */
  get prepared (): readonly string[] {
    return [...this.#types.keys()]
  }

  /** What is to be done for a table, and for its parents before it, unless it was visited before. */
  async plan (table: string, path: readonly string[] = []): Promise<TableToPrepare[]> {
    if (this.#types.has(table)) return []
    if (path.includes(table))
      throw new SetupInvalidError(
        `tables ${
          [...path, table].join(' → ')
        } would get their tenants from each other: say in options.adoption.backfill where one of them gets its own`
      )
    const { schema, tenant } = this.#tables
    const column = tenant[table]
    if (column === undefined)
      throw new SetupInvalidError(`'${table}' is no tenant table: name it in options.tables.tenant`)
    const facts = await inspectTable(this.#client, schema, table)
    const found = await inspectForPrepare(this.#client, facts.oid, column)
    const source = await this.#source(table, column, facts, found)
    const before = source?.parent === undefined ? [] : await this.plan(source.parent, [...path, table])
    const type = await this.#type(table, facts, found, source)
    this.#types.set(table, type)
    return [...before, { table, column, type, facts, found, source }]
  }

  async #source (
    table: string,
    column: string,
    facts: TableFacts,
    found: PrepareFacts
  ): Promise<Source | undefined> {
    const isMissing = found.type === undefined ||
      (!found.isRequired && await hasUnfilled(this.#client, facts.name, column))
    const source = isMissing || table in this.#adoption.backfill
      ? await findSource(this.#client, this.#adoption, this.#tables, table, facts)
      : undefined
    if (isMissing && source === undefined) {
      throw new SetupInvalidError(
        `nothing says whose the rows of table '${table}' are: give options.adoption.backfill.${table} ({ parent: 'table' }, { value: 'id' } or { sql: 'expression' })`
      )
    }
    return source
  }

  async #type (
    table: string,
    facts: TableFacts,
    found: PrepareFacts,
    source: Source | undefined
  ): Promise<TenantColumnType> {
    if (found.type !== undefined) {
      const type = columnType(found.type)
      if (type === undefined)
        throw new SetupInvalidError(
          `the tenant column of '${table}' must be of type text, uuid, int or bigint, and is ${found.type}`
        )
      return type
    }
    const given = this.#adoption.backfill[table]
    const wanted = this.#adoption.type ??
      (source?.parent === undefined ? undefined : this.#types.get(source.parent))
    if (wanted !== undefined) return wanted
    if (given !== undefined && given !== false && 'sql' in given)
      return expressionType(this.#client, table, facts, source?.expression ?? '')
    const known = new Set([...this.#types.values(), ...await tenantColumnTypes(this.#client, this.#tables)])
    const [only] = known
    if (only === undefined || known.size > 1)
      throw new SetupInvalidError(
        `nothing says of which type the tenant column of '${table}' is to be: give options.adoption.type`
      )
    return only
  }
}
