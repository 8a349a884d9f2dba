import { isolations, type Isolation, type TenantInput } from '@fastify-tenancy/core'
import { nameProblem, planProblem, settingsProblem, tenantBounds } from '@fastify-tenancy/core/names'
import { checkOptions, nonEmptyString, oneOf, positiveInteger } from '@fastify-tenancy/core/options'
import * as v from 'valibot'

// Checks the inputs of the manager's methods. Unknown keys are rejected, because a misspelt `plan`
// would silently create a tenant on the default plan.

const settingsMessage = 'must be an object of plain JSON values'
// Copies the settings as the registry will store them, so that freezing the record does not freeze
// the caller's object.
const settings = v.pipe(
  v.custom<Readonly<Record<string, unknown>>>(
    input =>
      typeof input === 'object' && input !== null && !Array.isArray(input) && jsonOf(input) !== undefined,
    settingsMessage
  ),
  v.transform(input => JSON.parse(jsonOf(input) ?? '{}') as Readonly<Record<string, unknown>>),
  v.check(input => settingsProblem(input) === undefined, 'must be at most 64 KiB of JSON')
)

// PostgreSQL's text type cannot store NUL.
const text = v.pipe(
  nonEmptyString,
  v.check(value => !value.includes('\0'), 'must not hold the character NUL')
)

const name = v.pipe(text, v.check(input => nameProblem(input) === undefined, nameProblem('')))
const plan = v.pipe(text, v.check(input => planProblem(input) === undefined, planProblem('')))

const described = { name: v.optional(name), plan: v.optional(plan), settings: v.optional(settings) }

const createSchema = v.strictObject({
  ...described,
  // The registry checks slug, id and domains, so that the same rules apply to every caller.
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

/**
 * Checks the input of `create` or `import`.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveCreateInput (input: CreateInput, what: 'create' | 'import'): CreateInput {
  return defined(checkOptions(createSchema, input, what))
}

/**
 * Checks the input of `update`.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function resolveUpdateInput (input: UpdateInput): UpdateInput {
  return defined(checkOptions(updateSchema, input, 'update'))
}

/**
 * Checks the input of `suspend`.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
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

/** Input of {@link Manager.create}. */
export interface CreateInput extends Pick<TenantInput, 'slug' | 'name' | 'plan' | 'settings' | 'domains'> {
  /** @default a random uuid */
  readonly id?: string
  /** @default the manager's `isolation` */
  readonly isolation?: Isolation
  /** @default 'default' */
  readonly shard?: string
  /**
   * Name of the tenant's database, or the input from which `tenants.decrypt` makes its URL. For
   * strategy `database`. @default 'tenant_<id>'
   */
  readonly database?: string
}

/** Options of {@link Manager.suspend}. The audit log stores the reason. */
export interface SuspendInput {
  readonly reason?: string
}

/** Changes of {@link Manager.update}. Omitted properties keep their value. */
export interface UpdateInput {
  readonly name?: string
  readonly plan?: string
  /** All settings: keys that are missing here are removed. */
  readonly settings?: Readonly<Record<string, unknown>>
  /**
   * The version that the caller has read. The update is refused if the tenant was changed since.
   * @default the newest
   */
  readonly version?: number
}
