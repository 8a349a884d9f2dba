import { roleName } from '@fastify-tenancy/core/keys'

import type { PolicyMode } from '../policies/policy.ts'
import { rolesOf } from '../roles/roles.ts'
import type { ResolvedTables } from '../tables/table-lists.ts'
import { expectedPolicies } from './expected.ts'

/** The logins besides the application's in which SQL of requests runs. Each has another user. */
export interface DoctorLogins {
  /** The login that may set the roles of tenants. */
  readonly tenantRoles?: string
  /** The login of the global tables. */
  readonly global?: string
  /** The login that reads the registry. */
  readonly registry?: string
}

/** The input of the checks. They read the rest from the catalog. */
export interface CatalogFacts extends PolicyMode {
  readonly database: string
  /** The tables as `listTables` returns them. */
  readonly tables: ResolvedTables
  /** The application's login. */
  readonly login: string
  /** @default none */
  readonly logins?: DoctorLogins
  /** Whether tenants of strategy `rls` are served with the application's login. @default true */
  readonly hasRls?: boolean
  /** Names of `options.row.functions`, if rewriting alone separates some tenants. @default none */
  readonly functions?: readonly string[]
  /** Whether only rewriting separates tenants, so that tables need no policy. @default false */
  readonly rewritten?: boolean
}

/** Returns the parameter of every check's SQL. */
export function checkInput (
  { database, tables, login, logins = {}, hasRls = true, functions = [], rewritten = false, ...mode }:
    CatalogFacts
): object {
  const { tenant, shared, global, schema, auto } = tables
  return {
    ...rolesOf(database),
    suffix: roleName('', database).slice(-9),
    sharedRole: rolesOf(database).shared,
    globalRole: rolesOf(database).global,
    login,
    rolesLogin: logins.tenantRoles ?? null,
    globalLogin: logins.global ?? null,
    registryLogin: logins.registry ?? null,
    hasRls,
    functions,
    schema,
    tenant,
    sharedTables: shared,
    globalTables: global,
    columns: [...new Set([...Object.values(tenant), ...(auto === undefined ? [] : [auto])])],
    rewritten,
    signed: mode.signed,
    expected: expectedPolicies(mode)
  }
}
