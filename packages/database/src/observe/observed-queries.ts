import { sqlState } from '@fastify-tenancy/postgres/client'
import { LRUCache } from 'lru-cache'
import { AsyncLocalStorage } from 'node:async_hooks'
import { channel } from 'node:diagnostics_channel'

import { readStatementText } from '../connection/statement.ts'
import { fingerprint, type Fingerprint } from './fingerprint.ts'

/** A query that breaks, or will when old code loses its tables: see `database.observe`. */
export interface ObservedQuery {
  /** `'GET /projects/:id'`; undefined outside a request. */
  readonly route: string | undefined
  readonly fingerprint: string
  /** The query without its values. */
  readonly text: string
  /**
   * What it gets, or will get: `'42501'` permission denied, or a row that is another tenant's; `'FST_TENANCY_QUERY_REFUSED'` what
   * `request.db` does not send either; and what the database answered.
   */
  readonly code: string
  /** `'old'` for a query on a pool of old code, which will break; `'new'` for one through `request.db`, which did. */
  readonly by: 'old' | 'new'
  /** How often this process has seen it. */
  readonly count: number
}

/** Told of each observed query, each time. */
const observations = channel('fastify-tenancy.observed-query')

/** Different queries that are remembered: those of an application are few, and whoever makes up texts must not fill memory. */
const most = 1_000

/** What a statement of ours that is held to its tenant is refused with. Others break with and without tenants. */
const refusals: ReadonlySet<string> = new Set(['42501', '42P01', 'TN401', 'FST_TENANCY_QUERY_REFUSED',
  'FST_TENANCY_ISOLATION_BREACH'])

/** The queries of one process that break, or will: once for each route, shape and reason. */
export class ObservedQueries {
  /** Told of each the first time. */
  onFirst: ((query: ObservedQuery) => void) | undefined
  readonly #known = new LRUCache<string, ObservedQuery>({ max: most })
  // Of texts that are sent often, reading them is what costs.
  readonly #fingerprints = new LRUCache<string, Fingerprint>({
    max: most,
    maxSize: 10_000_000,
    sizeCalculation: (_, text) => text.length + 1
  })
  readonly #route = new AsyncLocalStorage<string>()
  #tables: RegExp | undefined

  /** @param tables whose queries old code will lose */
  watchTables (tables: readonly string[]): void {
    const names = tables.map(name => name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    this.#tables = names.length === 0
      ? undefined
      : new RegExp(`(?<![\\p{L}\\p{N}_$])(?:${names.join('|')})(?![\\p{L}\\p{N}_$])`, 'u')
  }

  /** Runs the rest of a request as that of its route. */
  enter (route: string, next: () => void): void {
    this.#route.run(route, next)
  }

  /** A query of old code: one that names a watched table will break. */
  old (sql: string): void {
    const { id, text } = this.#fingerprint(sql)
    if (this.#tables?.test(text) === true)
      this.#add({ id, text }, 'old', readStatementText(sql).isAllowed ? '42501' : 'FST_TENANCY_QUERY_REFUSED')
  }

  /** A query through `request.db` that failed. */
  failed (sql: string, error: unknown): void {
    const code = sqlState(error) ??
      (error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '')
    if (refusals.has(code)) this.#add(this.#fingerprint(sql), 'new', code)
  }

  /** All that are remembered, the most frequent first. */
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
