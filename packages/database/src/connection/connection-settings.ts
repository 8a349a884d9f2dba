import type { BackendStopper } from './cancel.ts'
import type { ResetRules } from './reset.ts'
import type { RoleSettings } from './role-settings.ts'

/** What all leases of a pool have in common. The pool changes it, so a lease reads it anew for each statement. */
export interface ConnectionSettings {
  readonly types: unknown
  readonly stopper: BackendStopper
  /** `'auto'`: before a statement that what is on the connection could reach; `'always'`: at every change of owner. */
  readonly reset: 'auto' | 'always'
  readonly resetRules: ResetRules
  /** Whether contexts set `application_name`, so that its change tells nothing of the session. @default false */
  readonly isTagged?: boolean
  /** What the first batch of a connection checks; undefined where nothing is known of the login's settings. */
  readonly roleSettings: RoleSettings | undefined
  /** Whether a pooler gives each transaction another backend. Statements then have no names, and undo what they leave. */
  readonly isPooled: boolean
  /** Counts the changes of the catalog that the pool learned of. Names that were prepared before the last are forgotten. */
  readonly catalogVersion: number
  /** Has every connection of the pool forget its prepared names, because the catalog changed. */
  onStale(): void | Promise<void>
}
