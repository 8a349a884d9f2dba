import type { Tenant } from '@fastify-tenancy/core'
import pg from 'pg'

import type { MakeContext } from './connection/lease.ts'

/** What is the same in every context of one pool. Durations in milliseconds. */
export interface ContextSettings {
  /** The role whose privileges and policies apply. */
  readonly role: string
  /** The schema of the tables. */
  readonly schema: string
  readonly statementTimeout: number
  readonly lockTimeout: number
  readonly idleInTransaction: number
  readonly plans: 'custom' | 'shared'
  /** Makes the signed token for a tenant and a backend; undefined where contexts are not signed. */
  readonly sign: ((tenant: string, backend: number | null) => string) | undefined
  /** Which of the tenant's fences lock this out; undefined in a database that has none. */
  readonly fence: FenceHome | undefined
}

/** Where a tenant's rows are in a database that it shares: in tables of all, or in a schema of its own. */
export type FenceHome = 'shared' | 'schema'

/*
 * set_config's third argument keeps each setting to the transaction: a pooled connection must not carry a tenant over.
 * The context is complete and goes before every statement, inside a transaction too, so that nothing
 * that one statement did to a setting can serve the next. pg_temp comes last in the search path:
 * left out it would come first, and a temporary table could pose as a real one.
 *
 * The tenant comes out of the fences, in the database that holds its rows: a process that slept through a suspension, a move
 * or a deletion gets an error with its next statement, whatever it believes. What it may know of, and then is no reason
 * to refuse, is a suspension ($8), which some routes are there for. It comes first: the role of a deleted tenant is gone.
 */
const unfenced = '$2'
const fenced = (home: FenceHome): string => `coalesce((
  select tenancy.refuse(reason) from tenancy.fences
  where tenant = pg_catalog.sha256(pg_catalog.convert_to($2, 'UTF8')) and home = '${home}' and reason <> $8
), $2)`
const settingsOf = (tenant: string): string => `pg_catalog.set_config('tenancy.tenant', ${tenant}, true)
, pg_catalog.set_config('role', $1, true)
, pg_catalog.set_config('search_path', $3, true)
, pg_catalog.set_config('row_security', 'on', true)
, pg_catalog.set_config('statement_timeout', $4, true)
, pg_catalog.set_config('lock_timeout', $5, true)
, pg_catalog.set_config('idle_in_transaction_session_timeout', $6, true)
, pg_catalog.set_config('plan_cache_mode', $7, true)`

interface Texts {
  readonly plain: string
  readonly signed: string
}

const textsOf = (tenant: string, token: string): Texts => ({
  plain: `select ${settingsOf(tenant)}`,
  signed: `select ${settingsOf(tenant)}\n, pg_catalog.set_config('tenancy.token', ${token}, true)`
})

const texts = { none: textsOf(unfenced, '$8'), shared: textsOf(fenced('shared'), '$9'), schema: textsOf(fenced('schema'), '$9') }

/**
 * The context of strategy `rls`: role and tenant for the policies, and every setting that a statement depends on.
 *
 * ```sql
 * select set_config('role', 'tenancy_app_1f3a0c22', true),
 *        set_config('tenancy.tenant', coalesce((select tenancy.refuse(reason) from tenancy.fences where …), '7f3c…'), true),
 *        set_config('search_path', '"public", pg_temp', true), set_config('row_security', 'on', true), …
 * ```
 */
export function rlsContext (tenant: Pick<Tenant, 'id' | 'status'>, settings: ContextSettings): MakeContext {
  // Refused here and not left to the policy: an empty setting reads like one that was never set.
  if (tenant.id === '') throw new TypeError('a tenant id must not be empty')
  const values = [
    settings.role,
    tenant.id,
    `${pg.escapeIdentifier(settings.schema)}, pg_temp`,
    String(settings.statementTimeout),
    String(settings.lockTimeout),
    String(settings.idleInTransaction),
    settings.plans === 'custom' ? 'force_custom_plan' : 'auto',
    ...(settings.fence === undefined ? [] : [tenant.status === 'suspended' ? 'suspended' : ''])
  ]
  const { sign } = settings
  const { plain, signed } = texts[settings.fence ?? 'none']
  if (sign === undefined) {
    const context = { text: plain, values }
    return () => context
  }
  return ({ processID }) => ({ text: signed, values: [...values, sign(tenant.id, processID)] })
}
