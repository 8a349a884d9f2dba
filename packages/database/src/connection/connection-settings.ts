import type { BackendStopper } from './cancel.ts'
import type { ResetRules } from './reset.ts'
import type { RoleSettings } from './role-settings.ts'

/**
 * The settings that all connections of a pool share. The pool changes them, so a connection reads
 * them for each statement.
 */
export interface ConnectionSettings {
  readonly types: unknown
  readonly stopper: BackendStopper
  /**
   * `'auto'`: reset before a statement that could reach other owners' traces. `'always'`: reset at
   * every change of owner.
   */
  readonly reset: 'auto' | 'always'
  readonly resetRules: ResetRules
  /**
   * Whether contexts set `application_name`, so that its change is no trace. @default false
   */
  readonly isTagged?: boolean
  /**
   * The check in the first batch of a connection; undefined if the login's settings are unknown.
   */
  readonly roleSettings: RoleSettings | undefined
  /**
   * Whether a pooler may give each transaction another backend. Statements are then unnamed, and
   * undo their changes to the session.
   */
  readonly isPooled: boolean
  /**
   * Number of catalog changes that the pool noticed. Names prepared before the last change are
   * dropped.
   */
  readonly catalogVersion: number
  /** Drops the prepared names of every connection of the pool, because the catalog changed. */
  onStale(): void | Promise<void>
}
