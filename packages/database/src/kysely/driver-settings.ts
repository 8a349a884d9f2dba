import type { EventTenant, TenantScope } from '@fastify-tenancy/core'
import type { CompiledQuery, Log } from 'kysely'

import type { Query, TenantConnection } from '../connection/tenant-connection.ts'

/** The part of a scope that a driver uses. */
export type WorkScope =
  & Pick<TenantScope, 'assertOpen' | 'isClosed' | 'isAborted' | 'onClose'>
  & Partial<Pick<TenantScope, 'enter' | 'leave'>>

/** The settings of a tenant's driver: its scope, and how it gets a connection for that tenant. */
export interface TenantDriverSettings {
  readonly scope: WorkScope
  /** The tenant in the events of statements. @default no events are published */
  readonly tenant?: EventTenant
  /** Called when the tripwire stopped a row. */
  readonly onBreach?: () => void
  /** Called when the database locked out the tenant, which this process believed active. */
  readonly onLockedOut?: () => void
  /** Called for each statement that failed. */
  readonly onFailure?: ((text: string, error: unknown) => void) | undefined
  /** Kysely's log. The driver logs transaction control, which Kysely does not see. */
  readonly log?: Log | undefined
  acquire(): Promise<TenantConnection>
  /**
   * Returns the statement to send for a compiled query; throws if it must not run here. @default
   * the query's own text and parameters
   */
  statementOf?(query: CompiledQuery): Query
  /**
   * Whether a compiled query is proved to change and read nothing of its session. @default false
   * for every query
   */
  readonly isHarmless?: ((query: CompiledQuery) => boolean) | undefined
}
