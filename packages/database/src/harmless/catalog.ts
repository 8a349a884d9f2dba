import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { LRUCache } from 'lru-cache'

import type { LookUps } from '../connection/look-ups.ts'
import { readStatementText } from '../connection/statement.ts'
import type { MakeContext } from '../connection/tenant-connection.ts'
import { Judge } from './judge.ts'
import { FactsKeeper } from './keeper.ts'
import { readBuiltInCalls, readFacts, type Answer, type FactsQuery } from './read-facts.ts'

/** What one database is asked for. */
export interface CatalogSettings {
  /** The schema of the tables that tenants share, or of a tenant's own database. */
  readonly schema: string
  /** The names of the tables in it that may be harmless; undefined for all. */
  readonly tables: () => readonly string[] | undefined
  readonly ownPolicies: FactsQuery['ownPolicies']
  readonly functions: readonly string[]
  /** The schemas on the path of statements behind the one of their tables. */
  readonly others: () => readonly string[]
  /** Whether the database keeps an epoch of its catalog that this login may read. */
  readonly hasEpoch: () => boolean
}

/** The connections of one database, as far as the catalog needs them. */
export interface CatalogPool {
  readonly catalog: Pick<LookUps, 'query' | 'transaction'>
  dropPreparedNames(): void
}

/** How many schemas of tenants are remembered. */
const maxSchemas = 1_000

/** What the catalog of one database says of harmless statements, schema by schema. */
export class HarmlessCatalog {
  /** Judges statements on the schema of the settings. */
  readonly judge: Judge
  readonly #pool: CatalogPool
  readonly #settings: CatalogSettings
  readonly #main: FactsKeeper
  readonly #router = new LRUCache<string, Judge>({ max: maxSchemas })
  /** Counts the times at which all facts became old; the second those of tenants' schemas. */
  #generation = 0
  #routeGeneration = 0
  #builtInCalls: ReadonlySet<string> | undefined
  // One reading at a time: they are in the background, and must not take the connections of statements.
  #turn: Promise<unknown> = Promise.resolve()

  /** @param pool where the catalog is read. */
  constructor (pool: CatalogPool, settings: CatalogSettings) {
    this.#pool = pool
    this.#settings = settings
    this.#main = new FactsKeeper({
      read: () => this.#read(settings.schema, settings.tables(), settings.ownPolicies),
      generation: () => this.#generation,
      // The epoch that is known from now on must not stand for facts of schemas that were read before it.
      onChange: () => this.#changed(),
      // Parameters of prepared statements may have types that their columns have no more.
      onLapse: () => pool.dropPreparedNames()
    })
    this.judge = new Judge({ own: this.#main, schema: settings.schema, others: settings.others })
  }

  /** The epoch of the catalog that this process knows; '' where it knows none. */
  get epoch (): string {
    return this.#main.epoch
  }

  /** Reads the catalog now, at the boot. */
  async refresh (): Promise<void> {
    await this.#main.refresh()
  }

  /** Takes all facts for old, because the catalog changed. They are read again in the background, those of tenants' schemas when they are needed. */
  expire (): void {
    this.#generation++
    this.#routeGeneration++
    if (this.#main.last !== undefined) this.#main.hurry()
  }

  /** Judges statements on a tenant's schema. Until its catalog was read, none is harmless. */
  route (schema: string): Judge {
    const known = this.#router.get(schema)
    if (known !== undefined) return known
    const keeper = new FactsKeeper({
      read: () => this.#read(schema, undefined, noPolicies),
      generation: () => this.#routeGeneration,
      onChange: () => this.#pool.dropPreparedNames()
    })
    const judge = new Judge({
      own: keeper,
      schema,
      shared: this.#main,
      sharedSchema: this.#settings.schema,
      others: this.#settings.others
    })
    this.#router.set(schema, judge)
    return judge
  }

  #changed (): void {
    this.#routeGeneration++
    this.#pool.dropPreparedNames()
  }

  async #read (
    schema: string,
    tables: readonly string[] | undefined,
    ownPolicies: FactsQuery['ownPolicies']
  ): Promise<Answer> {
    const turn = this.#turn.catch(() => {}).then(() => this.#readNow(schema, tables, ownPolicies))
    this.#turn = turn
    return turn
  }

  async #readNow (
    schema: string,
    tables: readonly string[] | undefined,
    ownPolicies: FactsQuery['ownPolicies']
  ): Promise<Answer> {
    const { catalog } = this.#pool
    // Before the facts: an epoch must not stand for a change that they do not show.
    const epoch = this.#settings.hasEpoch() ? await readEpoch(catalog) : ''
    return catalog.transaction(context, async client => {
      const json = asJson(client)
      const facts = await readFacts(json, {
        schema,
        tables,
        ownPolicies,
        functions: this.#settings.functions,
        builtInCalls: this.#builtInCalls ??= await readBuiltInCalls(json)
      })
      return { ...facts, epoch }
    })
  }
}

/*
 * pg_temp comes last in the path: left out it would come first, and a temporary table could pose as a catalog. Compiling
 * these queries would take longer than running them, and what the planner takes for few rows can be ten thousand.
 */
const text =
  `select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('jit', 'off', true),
pg_catalog.set_config('enable_nestloop', 'off', true), pg_catalog.set_config('work_mem', '64MB', true),
pg_catalog.set_config('lock_timeout', '5s', true), pg_catalog.set_config('statement_timeout', '20s', true)`
const { name } = readStatementText(text)
const context: MakeContext = () => ({ text, name, values: [] })

// As one text, whatever the pool's type parsers make of arrays and booleans.
function asJson (client: SqlClient): SqlClient {
  return {
    async query<R> (question: string, values?: unknown[]) {
      const { rows: [row] } = await client.query<{ rows: string | null }>(
        `select json_agg(answer)::text as rows from (${question}) answer`,
        values
      )
      const rows = JSON.parse(row?.rows ?? '[]') as R[]
      return { rows, rowCount: rows.length }
    }
  }
}

async function readEpoch (client: Pick<SqlClient, 'query'>): Promise<string> {
  const { rows: [row] } = await client.query<{ epoch: string }>(
    'select tenancy.current_catalog_epoch() as epoch'
  )
  return row?.epoch ?? ''
}

async function noPolicies (_client: SqlClient): Promise<ReadonlySet<string>> {
  return new Set()
}
