import type { CompiledQuery, QueryCompiler } from 'kysely'

import type { Query, TenantConnection } from '../connection/tenant-connection.ts'

/** The route of one tenant's statements, by its isolation. */
export interface TenantRoute {
  /** Checks out a connection on which each statement runs in the tenant's context. */
  acquire(): Promise<TenantConnection>
  /** The tenant's own compiler, if its queries are rewritten. */
  readonly compiler: RouteCompiler | undefined
}

export interface RouteCompiler extends QueryCompiler {
  /**
   * Returns the statement to send for a compiled query; throws if it must not run here. @default
   * the query's own text and parameters
   */
  readonly statementOf?: (query: CompiledQuery) => Query
  /**
   * Whether a compiled query is proved to change and read nothing of its session. @default false
   * for every query
   */
  readonly isHarmless?: (query: CompiledQuery) => boolean
}
