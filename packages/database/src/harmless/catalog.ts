import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { LRUCache } from 'lru-cache'

import type { LookUps } from '../connection/look-ups.ts'
import { readStatementText } from '../connection/statement.ts'
import type { MakeContext } from '../connection/tenant-connection.ts'
import { Judge } from './judge.ts'
import { FactsKeeper } from './keeper.ts'
import { readBuiltInCalls, readFacts, type Answer, type FactsQuery } from './read-facts.ts'

/** The settings for reading the catalog of one database. */
interface CatalogSettings {
  /** The schema of the tenant tables, or of the tables in a tenant's own database. */
  readonly schema: string
  /** The names of its tables that may be harmless; undefined for all tables. */
  readonly tables: () => readonly string[] | undefined
  readonly ownPolicies: FactsQuery['ownPolicies']
  readonly functions: readonly string[]
  /** The schemas that follow `schema` in the search path. */
  readonly others: () => readonly string[]
  /** Whether the database has a catalog epoch that this login may read. */
  readonly hasEpoch: () => boolean
}

/** The part of a database's connections that the catalog needs. */
interface CatalogPool {
  readonly catalog: Pick<LookUps, 'query' | 'transaction'>
  dropPreparedNames(): void
}

/** Number of tenants' schemas whose facts are cached. */
const maxSchemas = 1_000

/**
 * Holds the facts, read from the catalog of one database, that decide which statements are
 * harmless, schema by schema.
 */
export class HarmlessCatalog {
  /** Judges statements on the schema of the settings. */
  readonly judge: Judge
  readonly #pool: CatalogPool
  readonly #settings: CatalogSettings
  readonly #main: FactsKeeper
  readonly #router = new LRUCache<string, Judge>({ max: maxSchemas })
  /**
   * Number of times that all facts expired; the second counts for the facts of tenants' schemas.
   */
  #generation = 0
  #routeGeneration = 0
  #builtInCalls: ReadonlySet<string> | undefined
  // One read at a time, because reads run in the background and must not take the connections of
  // statements.
  #turn: Promise<unknown> = Promise.resolve()

  /** @param pool used to read the catalog */
  constructor (pool: CatalogPool, settings: CatalogSettings) {
    this.#pool = pool
    this.#settings = settings
    this.#main = new FactsKeeper({
      read: () => this.#read(settings.schema, settings.tables(), settings.ownPolicies),
      generation: () => this.#generation,
      // Facts of tenants' schemas were read in an earlier epoch, so they expire with the new one.
      onChange: () => this.#changed(),
      // Prepared statements may have parameters of types that their columns no longer have.
      onLapse: () => pool.dropPreparedNames()
    })
    this.judge = new Judge({ own: this.#main, schema: settings.schema, others: settings.others })
  }

  /** Returns the catalog epoch of the current facts; '' if unknown. */
  get epoch (): string {
    return this.#main.epoch
  }

  /** Reads the catalog immediately, at boot. */
  async refresh (): Promise<void> {
    await this.#main.refresh()
  }

  /**
   * Expires all facts, because the catalog changed. They are read again in the background; facts of
   * a tenant's schema at its next use.
   */
  expire (): void {
    this.#generation++
    this.#routeGeneration++
    if (this.#main.last !== undefined) this.#main.hurry()
  }

  /**
   * Returns the judge of statements on a tenant's schema. Until its catalog was read, no statement
   * counts as harmless.
   */
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
    // Read before the facts. Otherwise the epoch could include a change that the facts do not show.
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
 * pg_temp is last in the path; if left out it would be first, and a temporary table could shadow a
 * catalog. JIT would take longer than the queries. Nested loops are off, because the planner
 * expects few rows where there can be ten thousand.
 */
const text = `select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
pg_catalog.set_config('jit', 'off', true),
pg_catalog.set_config('enable_nestloop', 'off', true), pg_catalog.set_config('work_mem', '64MB', true),
pg_catalog.set_config('lock_timeout', '5s', true), pg_catalog.set_config('statement_timeout', '20s', true)`
const { name } = readStatementText(text)
const context: MakeContext = () => ({ text, name, values: [] })

// Reads rows as one JSON text, because the pool may parse arrays and booleans differently.
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
