import { tenantPredicate, type PolicyMode } from '../policies/policy.ts'
import type { TenantColumnType } from '../tables/table-facts.ts'

/**
 * A placeholder column name that the server quotes as we do, replaced by the real name in both
 * texts.
 */
const anyColumn = 'tenant column'

/** The policy of a tenant table for one column type, by the catalog's name of the type. */
interface ExpectedPolicy {
  readonly type: string
  /** The predicate as `protect` writes it. */
  readonly predicate: string
  /** The predicate as the server prints it, which is the same on all versions from 13 on. */
  readonly shown: string
}

const types: readonly TenantColumnType[] = ['text', 'uuid', 'int', 'bigint']
const catalogName = { text: 'text', uuid: 'uuid', int: 'int4', bigint: 'int8' } as const
const shownName = { text: 'text', uuid: 'uuid', int: 'integer', bigint: 'bigint' } as const

/** Returns what `protect` creates in a mode, for each column type, with the placeholder column. */
export function expectedPolicies (mode: PolicyMode): ExpectedPolicy[] {
  return types.map(type => ({
    type: catalogName[type],
    predicate: tenantPredicate(anyColumn, type, mode),
    shown: shownPredicate(type, mode)
  }))
}

function shownPredicate (type: TenantColumnType, { signed, context }: PolicyMode): string {
  const setting = "current_setting('tenancy.tenant'::text, true)"
  const column = `"${anyColumn}"`
  const truth = (call: string, name: string): string =>
    `(${column} OPERATOR(tenancy.===) ( SELECT ${cast(call, type)} AS ${name}))`
  const conditions = [
    `(${column} = ${cast(`NULLIF(${setting}, ''::text)`, type)})`,
    ...(context === 'role' ? [truth(`tenancy.role_tenant(${setting}, CURRENT_USER)`, 'role_tenant')] : []),
    ...(signed ? [truth('tenancy.verified_tenant()', 'verified_tenant')] : [])
  ]
  return conditions.length === 1 ? conditions[0] ?? '' : `(${conditions.join(' AND ')})`
}

function cast (value: string, type: TenantColumnType): string {
  return type === 'text' ? value : `(${value})::${shownName[type]}`
}
