import { AssertionError } from 'node:assert'

import { idProblem } from '@fastify-tenancy/core'

import { strings } from './strings.ts'

/** The tenant that made the request, and the tenants whose values must not appear. */
export interface OwnExpectation {
  /** The tenant of the checked request, log or key list, with the name passed to {@link tagged}. */
  readonly tenant: string
  /** Every tenant with tagged values; `tenant` may be among them. */
  readonly tenants: readonly string[]
  /** The source of the value, for the message: `'GET /projects'`. @default 'value' */
  readonly where?: string
}

/** A value of another tenant, and its path: `.rows[0].name`. */
export interface ForeignValue {
  readonly value: string
  readonly path: string
}

/**
 * Returns a value that names its owner: `tagged('acme', 17)` is `'acme:17'`. Fill fixtures with
 * these values.
 */
export function tagged (tenant: string, n: number | string): string {
  return `${tenant}:${n}`
}

/**
 * Finds tagged values of other tenants in any value: rows, a response's body, headers, log lines,
 * Redis keys, an error with its causes. It finds a tag as a whole string, inside a string,
 * percent-encoded, in bytes, and as a property name.
 */
export function findForeign (value: unknown, { tenant, tenants }: OwnExpectation): ForeignValue[] {
  return scan(value, tenant, tenants).foreign
}

/**
 * Fails if {@link findForeign} finds anything.
 *
 * @returns how many of `tenant`'s own tagged values it saw. Check the count, because an empty
 * answer leaks nothing.
 * @throws AssertionError with the tag and its place: `acme was shown globex:17 at GET /projects:
 * .projects[3].name`
 */
export function assertOwn (value: unknown, { tenant, tenants, where = 'value' }: OwnExpectation): number {
  const { foreign: [leak], own } = scan(value, tenant, tenants)
  if (leak === undefined) return own
  throw new AssertionError({
    message: `${tenant} was shown ${leak.value} at ${where}: ${leak.path || 'the value itself'}`,
    actual: leak.value,
    expected: tagged(tenant, '…'),
    operator: 'assertOwn',
    stackStartFn: assertOwn
  })
}

function scan (
  value: unknown,
  tenant: string,
  tenants: readonly string[]
): { readonly foreign: ForeignValue[]; readonly own: number } {
  const others = tenants.filter(other => other !== tenant)
  if (others.length === 0)
    throw new TypeError('pass at least one other tenant in tenants: without one the check could not fail')
  const theirs = tagPattern(others)
  const mine = tagPattern([tenant])
  const foreign: ForeignValue[] = []
  let own = 0
  for (const { text, path } of strings(value)) {
    const leak = theirs.exec(text)
    if (leak !== null) foreign.push({ value: leak[0], path })
    else if (mine.test(text)) own++
  }
  return { foreign, own }
}

// The look-behind keeps `acme:1` from being read as a tag of tenant `me`.
function tagPattern (tenants: readonly string[]): RegExp {
  for (const tenant of tenants) {
    if (idProblem(tenant) !== undefined)
      throw new TypeError(`a tenant of tagged values must be named by its slug or id, got '${tenant}'`)
  }
  return new RegExp(`(?<![A-Za-z0-9_-])(?:${tenants.join('|')})(?::|%3a)[A-Za-z0-9]+`, 'i')
}
