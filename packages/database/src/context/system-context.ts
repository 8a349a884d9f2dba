import pg from 'pg'

import { readStatementText } from '../connection/statement.ts'
import type { MakeContext } from '../connection/tenant-connection.ts'
import type { ContextSettings } from './tenant-context.ts'

/** {@link ContextSettings} of work without a tenant. */
interface SystemContextSettings extends Omit<ContextSettings, 'sign' | 'lockout'> {
  readonly isReadOnly: boolean
}

/*
 * Like a tenant's context it is complete, precedes every statement and lasts for the transaction.
 * The tenant is cleared, so that no default fills a tenant column. PostgreSQL refuses to leave
 * read-only mode after a snapshot was taken, and this statement takes it:
 * https://www.postgresql.org/docs/current/sql-set-transaction.html
 */
const text = `select pg_catalog.set_config('role', $1, true)
, pg_catalog.set_config('tenancy.tenant', '', true)
, pg_catalog.set_config('search_path', $2, true)
, pg_catalog.set_config('row_security', 'on', true)
, pg_catalog.set_config('statement_timeout', $3, true)
, pg_catalog.set_config('lock_timeout', $4, true)
, pg_catalog.set_config('idle_in_transaction_session_timeout', $5, true)
, pg_catalog.set_config('plan_cache_mode', $6, true)
, pg_catalog.set_config('transaction_read_only',
  coalesce($7, pg_catalog.current_setting('transaction_read_only')), true)`

const { name } = readStatementText(text)

/**
 * Returns the context of a role of the suite: `tenancy_system` or `tenancy_global`.
 *
 * ```sql
 * select set_config('role', 'tenancy_system_1f3a0c22', true),
 *        set_config('tenancy.tenant', '', true), …,
 *        set_config('transaction_read_only', 'on', true)
 * ```
 */
export function systemContext (settings: SystemContextSettings): MakeContext {
  const context = {
    text,
    name,
    values: [
      settings.role,
      `${pg.escapeIdentifier(settings.schema)}, pg_temp`,
      String(settings.statementTimeout),
      String(settings.lockTimeout),
      String(settings.idleInTransaction),
      settings.plans === 'custom' ? 'force_custom_plan' : 'auto',
      settings.isReadOnly ? 'on' : null
    ]
  }
  const streamed = { ...context, values: context.values.with(2, '0') }
  return (_client, _isBegun, isStream) => isStream ? streamed : context
}
