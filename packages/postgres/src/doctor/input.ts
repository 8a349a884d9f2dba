import { roleName } from '@fastify-tenancy/core'

import type { PolicyMode } from '../policies/policy.ts'
import { rolesOf } from '../roles/roles.ts'
import type { ResolvedTables } from '../tables/table-lists.ts'
import { expectedPolicies } from './expected.ts'

/** The logins besides the application's in which SQL of requests runs; none that has the application's own user. */
export interface DoctorLogins {
  /** The one that may become the roles of tenants. */
  readonly tenantRoles?: string
  /** The one of the global tables. */
  readonly global?: string
  /** The one that reads the registry. */
  readonly registry?: string
}

/** What the checks are told; the rest they read from the catalog. */
export interface CatalogFacts extends PolicyMode {
  readonly database: string
  /** The tables as the catalog has them: see `listTables`. */
  readonly tables: ResolvedTables
  /** The application's login. */
  readonly login: string
  /** @default none */
  readonly logins?: DoctorLogins
  /** Whether tenants of strategy `rls` are served with the application's login. @default true */
  readonly hasRls?: boolean
  /** Names of `options.row.functions`, where the rewriting of queries alone keeps some tenants apart. @default none */
  readonly functions?: readonly string[]
  /** Whether only the rewriting of queries keeps tenants apart, so that tables need no policy. @default false */
  readonly rewritten?: boolean
}

/** The parameter of every check's SQL. */
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
