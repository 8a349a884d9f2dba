import { sqlState } from '@fastify-tenancy/postgres/client'
import { LRUCache } from 'lru-cache'
import { AsyncLocalStorage } from 'node:async_hooks'
import { channel } from 'node:diagnostics_channel'

import { readStatementText } from '../connection/statement.ts'
import { fingerprint, type Fingerprint } from './fingerprint.ts'

/**
 * A query that was refused, or that will break when old code loses its tables. See
 * `database.observe`.
 */
export interface ObservedQuery {
  /** `'GET /projects/:id'`; undefined outside a request. */
  readonly route: string | undefined
  readonly fingerprint: string
  /** The query without its values. */
  readonly text: string
  /**
   * The error that it gets or will get. `'42501'`: permission denied, or a row of another tenant.
   * `'FST_TENANCY_QUERY_REFUSED'`: `request.db` does not send it either. Otherwise the database's
   * own code.
   */
  readonly code: string
  /**
   * `'old'`: a query on a pool of old code, which will break. `'new'`: a query through
   * `request.db`, which failed.
   */
  readonly by: 'old' | 'new'
  /** How often this process has seen the query. */
  readonly count: number
}

/** Published for each observed query, each time. */
const observations = channel('fastify-tenancy:observed-query')

/**
 * Number of different queries that are kept. An application has few, and a caller who invents texts
 * must not fill the memory.
 */
const most = 1_000

/**
 * The codes with which a statement is refused because of its tenant. Statements with other errors
 * break without tenants, too.
 */
const refusals: ReadonlySet<string> = new Set(['42501', '42P01', 'TN401', 'FST_TENANCY_QUERY_REFUSED',
  'FST_TENANCY_ISOLATION_BREACH'])

/** The queries of one process that break or will break: one entry per route, shape and reason. */
export class ObservedQueries {
  /** Called for each query at its first occurrence. */
  onFirst: ((query: ObservedQuery) => void) | undefined
  readonly #known = new LRUCache<string, ObservedQuery>({ max: most })
  // Cached by text, because computing a fingerprint costs most.
  readonly #fingerprints = new LRUCache<string, Fingerprint>({
    max: most,
    maxSize: 10_000_000,
    sizeCalculation: (_, text) => text.length + 1
  })
  readonly #route = new AsyncLocalStorage<string>()
  #tables: RegExp | undefined

  /** @param tables the tables that old code will lose */
  watchTables (tables: readonly string[]): void {
    const names = tables.map(name => name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    this.#tables = names.length === 0
      ? undefined
      : new RegExp(`(?<![\\p{L}\\p{N}_$])(?:${names.join('|')})(?![\\p{L}\\p{N}_$])`, 'u')
  }

  /** Runs the rest of a request in the context of its route. */
  enter (route: string, next: () => void): void {
    this.#route.run(route, next)
  }

  /** Records a query of old code if it names a watched table, because it will break. */
  old (sql: string): void {
    const { id, text } = this.#fingerprint(sql)
    if (this.#tables?.test(text) === true)
      this.#add({ id, text }, 'old', readStatementText(sql).isAllowed ? '42501' : 'FST_TENANCY_QUERY_REFUSED')
  }

  /** Records a query through `request.db` that failed. */
  failed (sql: string, error: unknown): void {
    const code = sqlState(error) ??
      (error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '')
    if (refusals.has(code)) this.#add(this.#fingerprint(sql), 'new', code)
  }

  /** Returns all recorded queries, the most frequent first. */
  list (): readonly ObservedQuery[] {
    return [...this.#known.values()].toSorted((a, b) => b.count - a.count)
  }

  #fingerprint (sql: string): Fingerprint {
    const known = this.#fingerprints.get(sql)
    if (known !== undefined) return known
    const made = fingerprint(sql)
    this.#fingerprints.set(sql, made)
    return made
  }

  #add ({ id, text }: Fingerprint, by: ObservedQuery['by'], code: string): void {
    const route = this.#route.getStore()
    const key = [route, id, by, code].join('\n')
    const query = { route, fingerprint: id, text, code, by, count: (this.#known.get(key)?.count ?? 0) + 1 }
    this.#known.set(key, query)
    if (query.count === 1) this.onFirst?.(query)
    observations.publish(query)
  }
}
