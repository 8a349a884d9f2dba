import { checkOptions, isolations, nameProblem, nonEmptyString, oneOf, planProblem, positiveInteger,
  settingsProblem, tenantBounds, type Isolation, type TenantInput } from '@fastify-tenancy/core'
import * as v from 'valibot'

// What the calls of the manager are told: a name that nobody reads is a plan or a reason that was not set.

const settingsMessage = 'must be an object of plain JSON values'
// A copy as the registry will keep it: the caller's own is not to be frozen.
const settings = v.pipe(
  v.custom<Readonly<Record<string, unknown>>>(
    input =>
      typeof input === 'object' && input !== null && !Array.isArray(input) && jsonOf(input) !== undefined,
    settingsMessage
  ),
  v.transform(input => JSON.parse(jsonOf(input) ?? '{}') as Readonly<Record<string, unknown>>),
  v.check(input => settingsProblem(input) === undefined, 'must be at most 64 KiB of JSON')
)

// PostgreSQL has no text with it.
const text = v.pipe(
  nonEmptyString,
  v.check(value => !value.includes('\0'), 'must not hold the character NUL')
)

const name = v.pipe(text, v.check(input => nameProblem(input) === undefined, nameProblem('')))
const plan = v.pipe(text, v.check(input => planProblem(input) === undefined, planProblem('')))

const described = { name: v.optional(name), plan: v.optional(plan), settings: v.optional(settings) }

const createSchema = v.strictObject({
  ...described,
  // Their rules are those of the names, whoever breaks them.
  slug: v.custom<string>(() => true),
  id: v.optional(v.string('must be a string')),
  domains: v.optional(
    v.pipe(
      v.array(v.string('must be a domain'), 'must be a list of domains'),
      v.maxLength(tenantBounds.domains, 'must be at most 100 domains')
    )
  ),
  isolation: v.optional(oneOf(...isolations)),
  shard: v.optional(nonEmptyString),
  database: v.optional(nonEmptyString)
}, 'must be an object with a slug')

const updateSchema = v.strictObject(
  { ...described, version: v.optional(positiveInteger) },
  'must be an object of name, plan, settings and version'
)

const suspendSchema = v.strictObject({ reason: v.optional(text) }, 'must be an object')

/** @throws FST_TENANCY_OPTION_INVALID */
export function resolveCreateInput (input: CreateInput, what: 'create' | 'import'): CreateInput {
  return defined(checkOptions(createSchema, input, what))
}

/** @throws FST_TENANCY_OPTION_INVALID */
export function resolveUpdateInput (input: UpdateInput): UpdateInput {
  return defined(checkOptions(updateSchema, input, 'update'))
}

/** @throws FST_TENANCY_OPTION_INVALID */
export function resolveSuspendInput (input: SuspendInput): SuspendInput {
  return defined(checkOptions(suspendSchema, input, 'suspend'))
}

function jsonOf (value: object): string | undefined {
  try {
    return JSON.stringify(value)
  } catch {
    return undefined // a cycle, a BigInt
  }
}

function defined<T extends object> (input: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>
  }
}

/** What {@link Manager.create} makes a tenant from. */
export interface CreateInput extends Pick<TenantInput, 'slug' | 'name' | 'plan' | 'settings' | 'domains'> {
  /** @default a random uuid */
  readonly id?: string
  /** @default the manager's `isolation` */
  readonly isolation?: Isolation
  /** @default 'default' */
  readonly shard?: string
  /** The name of its database, or what `tenants.decrypt` makes its URL of. For strategy `database`. @default 'tenant_<id>' */
  readonly database?: string
}

/** Why, for the record. */
export interface SuspendInput {
  readonly reason?: string
}

/** What {@link Manager.update} may change. What is left out stays. */
export interface UpdateInput {
  readonly name?: string
  readonly plan?: string
  /** All of them: what is not in it is gone. */
  readonly settings?: Readonly<Record<string, unknown>>
  /** The version that the caller has read: refused where somebody has changed the tenant since. @default the newest */
  readonly version?: number
}
