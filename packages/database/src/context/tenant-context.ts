import type { Tenant } from '@fastify-tenancy/core'
import { InternalTypeError } from '@fastify-tenancy/core/errors'
import pg from 'pg'

import { readStatementText } from '../connection/statement.ts'
import type { MakeContext } from '../connection/tenant-connection.ts'
import type { LockoutVersions } from './lockout-versions.ts'

/** The settings that all contexts of one pool share. Durations are in milliseconds. */
export interface ContextSettings {
  /** The role whose privileges and policies apply. */
  readonly role: string
  /** The schema of the tables. */
  readonly schema: string
  /** The schemas of extensions, which follow `schema` in the search path. @default none */
  readonly extensions?: readonly string[]
  readonly statementTimeout: number
  readonly lockTimeout: number
  readonly idleInTransaction: number
  readonly plans: 'custom' | 'shared'
  /** Returns the signed token for a tenant and a backend; undefined if contexts are not signed. */
  readonly sign: ((tenant: string, backend: number | null) => string) | undefined
  /**
   * Which lockout row applies ('shared' or 'schema'), and the last version in which each tenant was
   * not locked out. Undefined if the database has no lockouts.
   */
  readonly lockout: { readonly route: LockoutScope; readonly lockoutVersions: LockoutVersions } | undefined
  /** Whether `application_name` is the tenant's id while a statement runs. @default false */
  readonly isTagged?: boolean
  /**
   * The catalog epoch that this process assumes; '' if none. A statement that begins a transaction
   * in a later epoch fails with TN410.
   */
  readonly catalogEpoch?: () => string
}

/**
 * Where a tenant's rows are in a database with several tenants: in tenant tables, or in the
 * tenant's own schema.
 */
type LockoutScope = 'shared' | 'schema'

/*
 * The context is one SELECT, complete before every statement, even inside a transaction. So no
 * setting that one statement changed affects the next statement.
 */

/*
 * The third argument of set_config ends each setting with the transaction, so a pooled connection
 * never carries a tenant over. pg_temp is last in the search path. Left out it would be first, and
 * a temporary table could shadow a real one. num_nonnulls makes the reply a third as large.
 */

/*
 * The database that holds the tenant's rows checks the lockout, so a process with a stale tenant
 * record gets an error at its next statement. If $8 is the current version, no lookup happens. The
 * check runs before `set role`: a deleted tenant's role no longer exists, and its error would hide
 * the reason.
 *
 * $9 is 'suspended' if this process has already seen the suspension. Such a statement is let
 * through, because some routes serve suspended tenants.
 */
const pass = (route: LockoutScope): string =>
  `case when tenancy.current_versions() operator(pg_catalog.=) $8 then $8
  else tenancy.check_lockout($2, '${route}', $9) end
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
const tag = "\n, pg_catalog.set_config('application_name', $2, true)"

interface Texts {
  readonly plain: Text
  readonly signed: Text
  readonly tagged: Text
  readonly signedTagged: Text
}

function textsOf (pass: string, token: string): Texts {
  const text = (more: string): Text => named(`select ${pass}pg_catalog.num_nonnulls(${settings}${more})`)
  const signature = `\n, pg_catalog.set_config('tenancy.token', ${token}, true)`
  return { plain: text(''), signed: text(signature), tagged: text(tag), signedTagged: text(tag + signature) }
}

const texts = {
  none: textsOf('', '$8'),
  shared: textsOf(pass('shared'), '$10'),
  schema: textsOf(pass('schema'), '$10')
}

/**
 * Returns the context of strategy `rls`: role and tenant for the policies, and every setting that a
 * statement depends on.
 *
 * ```sql
 * select case when tenancy.current_versions() = '6fb0…' then '6fb0…'
 *          else tenancy.check_lockout('7f3c…', 'shared', '') end,
 *        num_nonnulls(set_config('tenancy.tenant', '7f3c…', true),
 *          set_config('role', 'tenancy_app_1f3a0c22', true),
 *          set_config('search_path', '"public", pg_temp', true),
 *          set_config('row_security', 'on', true), …)
 * ```
 */
export function rlsContext (tenant: Pick<Tenant, 'id' | 'status'>, settings: ContextSettings): MakeContext {
  return rlsContexts(settings)(tenant)
}

/**
 * Returns the contexts of many tenants. Their common values are computed once instead of per
 * request.
 */
export function rlsContexts (
  settings: ContextSettings
): (tenant: Pick<Tenant, 'id' | 'status'>) => MakeContext {
  const { plain, signed, tagged, signedTagged } = texts[settings.lockout?.route ?? 'none']
  const text = settings.isTagged === true
    ? settings.sign === undefined ? tagged : signedTagged
    : settings.sign === undefined
    ? plain
    : signed
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
  // Refused here, because the policies cannot tell an empty setting from one that was never set.
  if (tenant.id === '') throw new InternalTypeError('a tenant id must not be empty')
  const values = [role, tenant.id, ...common]
  const token = (backend: number | null): string[] => sign === undefined ? [] : [sign(tenant.id, backend)]
  // Streams get no server timeout, because TenantConnection measures it with a StreamClock.
  const valuesOf = (isStream: boolean | undefined): string[] =>
    isStream === true ? values.with(3, '0') : values
  if (lockout === undefined)
    return ({ processID }, _isBegun, isStream) => ({
      ...text,
      values: [...valuesOf(isStream), ...token(processID)]
    })
  const known = tenant.status === 'suspended' ? 'suspended' : ''
  // The status is part of the key, because a process that has seen a suspension is let through
  // where others are refused.
  const passage = `${lockout.route} ${known} ${tenant.id}`
  return ({ processID }, isBegun, isStream) => {
    // PostgreSQL processes invalidation messages when a transaction starts, not reliably inside it.
    // So inside a transaction every statement checks the lockouts (version = null).
    const version = isBegun ? null : lockout.lockoutVersions.of(passage)
    // '' inside a transaction, because a statement that follows others there cannot be retried.
    const catalog = isBegun ? '' : catalogEpoch()
    return {
      ...text,
      values: [...valuesOf(isStream), version, catalog === '' ? known : `${known} ${catalog}`,
        ...token(processID)],
      onAnswer: seen => {
        if (seen !== version) lockout.lockoutVersions.set(passage, seen)
      }
    }
  }
}

const none = (): string => ''
