import { roleName } from '@fastify-tenancy/core'

import type { ResolvedTables } from '../options.ts'
import { rolesOf } from '../setup/roles.ts'
import type { PolicyMode } from '../setup/policy.ts'
import { expectedPolicies } from './expected.ts'

/** What the checks are told; the rest they read from the catalog. */
export interface DoctorInput extends PolicyMode {
  readonly database: string
  /** The tables as the catalog has them: see `listTables`. */
  readonly tables: ResolvedTables
  /** The application's login. */
  readonly login: string
  /** Whether only the rewriting of queries keeps tenants apart, so that tables need no policy. @default false */
  readonly rewritten?: boolean
}

/** The parameter of every check's SQL. */
export function checkInput ({ database, tables, login, rewritten = false, ...mode }: DoctorInput): object {
  const { tenant, shared, global, schema, auto } = tables
  return {
    ...rolesOf(database),
    suffix: roleName('', database).slice(-9),
    sharedRole: rolesOf(database).shared,
    globalRole: rolesOf(database).global,
    login,
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
