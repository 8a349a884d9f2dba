import { idProblem, OptionInvalidError, slugProblem } from '@fastify-tenancy/core'
import { printable } from '@fastify-tenancy/core/names'
import { explain } from '@fastify-tenancy/core/options'
import * as v from 'valibot'

import type { LimitFields, LimitsParts, Rpm } from './limits.ts'

const most = 1_000_000_000
const message = `must be a positive integer up to ${most}`
const count = v.custom<number>(isCount, message)
const rpm = v.custom<Rpm>(value => value === 'unlimited' || isCount(value), `${message} or 'unlimited'`)

// Rejects arrays, which strictObject() alone accepts as objects without fields.
const plainObject = v.custom<Record<string, unknown>>(isPlainObject, 'must be an object')
const anonymousEntries = {
  rpm: v.exactOptional(rpm),
  burst: v.exactOptional(count),
  concurrency: v.exactOptional(count)
}
const anonymousFields = v.pipe(plainObject, v.strictObject(anonymousEntries))
const fields = v.pipe(plainObject, v.strictObject({ ...anonymousEntries, perClient: v.exactOptional(count) }))
const documentSchema = v.pipe(
  plainObject,
  v.strictObject({
    default: v.exactOptional(fields, {}),
    anonymous: v.exactOptional(anonymousFields, {}),
    plans: v.exactOptional(plainObject, {}),
    tenants: v.exactOptional(plainObject, {})
  })
)

/** The keys that lead to a mistake, for the line number in a message. */
export type KeyPath = readonly string[]

/**
 * Checks the content of a limits file or of a `limits` option.
 *
 * @param root the document's name in messages.
 * @param placeOf returns `limits.json, line 7: ` for a path, if the document came from a file.
 * @throws FST_TENANCY_OPTION_INVALID for the first mistake, with its key.
 */
export function checkLimits (
  input: unknown,
  root = 'options.limits',
  placeOf: (path: KeyPath) => string = () => ''
): LimitsParts {
  const check = <T>(schema: v.GenericSchema<unknown, T>, value: unknown, path: KeyPath): T => {
    const result = v.safeParse(schema, value, { abortEarly: true })
    if (result.success) return result.output
    const [issue] = result.issues
    const whole = [...path, ...(issue.path ?? []).map(item => String(item.key))]
    throw new OptionInvalidError(placeOf(whole) + explain(issue, [root, ...path].join('.')))
  }
  const fail = (path: KeyPath, problem: string): never => {
    throw new OptionInvalidError(printable(`${placeOf(path)}${[root, ...path].join('.')} ${problem}`))
  }

  const document = check(documentSchema, input, [])
  const plans = new Map<string, LimitFields>()
  for (const [plan, value] of Object.entries(document.plans)) {
    if (plan === '') fail(['plans', plan], 'must name a plan')
    plans.set(plan, check(fields, value, ['plans', plan]))
  }
  const tenants = new Map<string, LimitFields>()
  for (const [tenant, value] of Object.entries(document.tenants)) {
    const problem = tenant.startsWith('id:') ? idProblem(tenant.slice(3)) : slugProblem(tenant, [])
    // Refuse names that no tenant can have, because their limits would be silently ignored.
    if (problem !== undefined)
      fail(['tenants', tenant], `names no tenant: ${problem}; write a slug, or id: and an id`)
    tenants.set(tenant, check(fields, value, ['tenants', tenant]))
  }
  return { default: document.default, anonymous: document.anonymous, plans, tenants }
}

function isPlainObject (value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isCount (value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 1 && value <= most
}
