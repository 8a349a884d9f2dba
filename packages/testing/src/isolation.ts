import { AssertionError } from 'node:assert'

import { idProblem } from '@fastify-tenancy/core'

import { strings } from './strings.ts'

/** Who looked, and whose values must not be there. */
export interface IsolationExpectation {
  /** The tenant whose request, log or key list this is, as it was given to {@link tagged}. */
  readonly tenant: string
  /** Every tenant that has tagged values; `tenant` may be among them. */
  readonly tenants: readonly string[]
  /** What is being looked at, for the message: `'GET /projects'`. @default 'value' */
  readonly where?: string
}

/** A value that says whose it is: `tagged('acme', 17)` is `'acme:17'`. Fill fixtures with these. */
export function tagged (tenant: string, n: number | string): string {
  return `${tenant}:${n}`
}

/**
 * Looks through anything (rows, a response's body, log lines, a list of Redis keys, an error with its causes) for a value
 * that is tagged with another tenant: whole or in the middle of a string, percent-encoded, in bytes, or as a property's name.
 *
 * @returns how many values of `tenant`'s own it saw. Check it where there must be some: an empty answer leaks nothing.
 * @throws AssertionError naming the tag and its place: `acme was shown globex:17 at GET /projects: .projects[3].name`
 */
export function assertIsolated (
  value: unknown,
  { tenant, tenants, where = 'value' }: IsolationExpectation
): number {
  const others = tenants.filter(other => other !== tenant)
  if (others.length === 0)
    throw new TypeError(
      'assertIsolated needs the name of at least one other tenant: with none it could not fail'
    )
  const foreign = tagPattern(others)
  const own = tagPattern([tenant])
  let seen = 0
  for (const { text, path } of strings(value)) {
    const leak = foreign.exec(text)
    if (leak !== null) {
      throw new AssertionError({
        message: `${tenant} was shown ${leak[0]} at ${where}: ${path || 'the value itself'}`,
        actual: leak[0],
        expected: tagged(tenant, '…'),
        operator: 'assertIsolated',
        stackStartFn: assertIsolated
      })
    }
    if (own.test(text)) seen++
  }
  return seen
}

// A tag begins at its tenant's name: `acme:1` is no tag of tenant `me`. A name within the id's alphabet means nothing in a pattern.
function tagPattern (tenants: readonly string[]): RegExp {
  for (const tenant of tenants) {
    if (idProblem(tenant) !== undefined)
      throw new TypeError(`a tenant of tagged values must be named by its slug or id, got '${tenant}'`)
  }
  return new RegExp(`(?<![A-Za-z0-9_-])(?:${tenants.join('|')})(?::|%3a)[A-Za-z0-9]+`, 'i')
}
