import { InternalTypeError, type Tenant } from '@fastify-tenancy/core'
import pg from 'pg'

import { readStatementText } from '../connection/statement.ts'
import type { MakeContext } from '../connection/tenant-connection.ts'
import type { LockoutVersions } from './lockout-versions.ts'

/** What is the same in every context of one pool. Durations in milliseconds. */
export interface ContextSettings {
  /** The role whose privileges and policies apply. */
  readonly role: string
  /** The schema of the tables. */
  readonly schema: string
  /** The schemas of extensions, which come behind it. @default none */
  readonly extensions?: readonly string[]
  readonly statementTimeout: number
  readonly lockTimeout: number
  readonly idleInTransaction: number
  readonly plans: 'custom' | 'shared'
  /** Makes the signed token for a tenant and a backend; undefined where contexts are not signed. */
  readonly sign: ((tenant: string, backend: number | null) => string) | undefined
  /** Which of the tenant's fences lock this out, and since when they are known not to; undefined in a database that has none. */
  readonly lockout: { readonly route: LockoutScope; readonly lockoutVersions: LockoutVersions } | undefined
  /** The epoch of the catalog that this process knows; '' where it knows none. A statement that begins a transaction in a later one fails with TN410. */
  readonly catalogEpoch?: () => string
}

/** Where a tenant's rows are in a database that it shares: in tables of all, or in a schema of its own. */
export type LockoutScope = 'shared' | 'schema'

/*
 * set_config's third argument keeps each setting to the transaction: a pooled connection must not carry a tenant over.
 * The context is complete and goes before every statement, inside a transaction too, so that nothing
 * that one statement did to a setting can serve the next. pg_temp comes last in the search path:
 * left out it would come first, and a temporary table could pose as a real one.
 *
 * The tenant passes a fence in the database that holds its rows: a process that slept through a suspension, a move
 * or a deletion gets an error with its next statement, whatever it believes. What it may know of, and then is no reason
 * to refuse, is a suspension ($9), which some routes are there for. It comes first: the role of a deleted tenant is gone.
 * Where no fence has changed since the tenant passed ($8), nothing is looked up.
 *
 * num_nonnulls: settings that come back as text are a third of what the answer would weigh.
 */
const pass = (route: LockoutScope): string =>
  `case when tenancy.current_versions() operator(pg_catalog.=) $8 then $8 else tenancy.check_lockout($2, '${route}', $9) end
, `
const settings = `pg_catalog.set_config('tenancy.tenant', $2, true)
, pg_catalog.set_config('role', $1, true)
, pg_catalog.set_config('search_path', $3, true)
, pg_catalog.set_config('row_security', 'on', true)
, pg_catalog.set_config('statement_timeout', $4, true)
, pg_catalog.set_config('lock_timeout', $5, true)
, pg_catalog.set_config('idle_in_transaction_session_timeout', $6, true)
, pg_catalog.set_config('plan_cache_mode', $7, true)`

interface Text {
  readonly text: string
  readonly name: string
}

const named = (text: string): Text => ({ text, name: readStatementText(text).name })
const textsOf = (pass: string, token: string): Readonly<Record<'plain' | 'signed', Text>> => ({
  plain: named(`select ${pass}pg_catalog.num_nonnulls(${settings})`),
  signed: named(
    `select ${pass}pg_catalog.num_nonnulls(${settings}\n, pg_catalog.set_config('tenancy.token', ${token}, true))`
  )
})

const texts = {
  none: textsOf('', '$8'),
  shared: textsOf(pass('shared'), '$10'),
  schema: textsOf(pass('schema'), '$10')
}

/**
 * The context of strategy `rls`: role and tenant for the policies, and every setting that a statement depends on.
 *
 * ```sql
 * select case when tenancy.current_versions() = '6fb0…' then '6fb0…' else tenancy.check_lockout('7f3c…', 'shared', '') end,
 *        num_nonnulls(set_config('tenancy.tenant', '7f3c…', true), set_config('role', 'tenancy_app_1f3a0c22', true),
 *        set_config('search_path', '"public", pg_temp', true), set_config('row_security', 'on', true), …)
 * ```
 */
export function rlsContext (tenant: Pick<Tenant, 'id' | 'status'>, settings: ContextSettings): MakeContext {
  return rlsContexts(settings)(tenant)
}

/** The contexts of many tenants: what they have in common is made once, and not for each request. */
export function rlsContexts (
  settings: ContextSettings
): (tenant: Pick<Tenant, 'id' | 'status'>) => MakeContext {
  const { plain, signed } = texts[settings.lockout?.route ?? 'none']
  const text = settings.sign === undefined ? plain : signed
  const path = [settings.schema, ...settings.extensions ?? []]
    .map(schema => pg.escapeIdentifier(schema)).join(', ') + ', pg_temp'
  const common = [path, String(settings.statementTimeout), String(settings.lockTimeout),
    String(settings.idleInTransaction), settings.plans === 'custom' ? 'force_custom_plan' : 'auto']
  return tenant => contextOf(tenant, settings, text, common)
}

function contextOf (
  tenant: Pick<Tenant, 'id' | 'status'>,
  { role, lockout, sign, catalogEpoch = none }: ContextSettings,
  text: Text,
  common: readonly string[]
): MakeContext {
  // Refused here and not left to the policy: an empty setting reads like one that was never set.
  if (tenant.id === '') throw new InternalTypeError('a tenant id must not be empty')
  const values = [role, tenant.id, ...common]
  const token = (backend: number | null): string[] => sign === undefined ? [] : [sign(tenant.id, backend)]
  // A stream's timeout is counted by its connection.
  const valuesOf = (isStream: boolean | undefined): string[] =>
    isStream === true ? values.with(3, '0') : values
  if (lockout === undefined)
    return ({ processID }, _isBegun, isStream) => ({
      ...text,
      values: [...valuesOf(isStream), ...token(processID)]
    })
  const known = tenant.status === 'suspended' ? 'suspended' : ''
  // Who knows of a suspension passes where others do not.
  const passage = `${lockout.route} ${known} ${tenant.id}`
  return ({ processID }, isBegun, isStream) => {
    // A session hears of changes when a transaction begins, and not always within it: there, each statement looks.
    const epoch = isBegun ? null : lockout.lockoutVersions.of(passage)
    // Behind statements of its transaction a statement cannot be sent again.
    const catalog = isBegun ? '' : catalogEpoch()
    return {
      ...text,
      values: [...valuesOf(isStream), epoch, catalog === '' ? known : `${known} ${catalog}`,
        ...token(processID)],
      onAnswer: seen => {
        if (seen !== epoch) lockout.lockoutVersions.learn(passage, seen)
      }
    }
  }
}

const none = (): string => ''
