import ms, { type StringValue } from 'ms'
import * as v from 'valibot'

import { OptionInvalidError } from './errors.ts'
import { misplacedArray } from './misplaced-array.ts'
import { printable } from './printable.ts'

/**
 * Checks an input against a schema and returns it with defaults, frozen. The caller's object is not
 * changed. Messages in schemas complete the sentence "options.x …": `must be a positive integer`.
 *
 * @param name the caller's name of the object, for the message: `'options'`, or a file's name.
 * @throws FST_TENANCY_OPTION_INVALID for the first mistake: `options.cache.ttl must be a duration
 * such as '30s', got 'abc'`.
 */
export function checkOptions<Output> (
  schema: v.GenericSchema<unknown, Output>,
  input: unknown,
  name = 'options'
): Output {
  const misplaced = misplacedArray(schema, input)
  if (misplaced !== undefined)
    throw new OptionInvalidError(`${[name, ...misplaced.path].join('.')} ${misplaced.message}, got an array`)
  const result = v.safeParse(schema, input, { abortEarly: true })
  if (!result.success) throw new OptionInvalidError(explain(result.issues[0], name))
  return freezeOwn(result.output, plainPartsOf(input))
}

/** Returns the sentence for one issue of a schema. */
export function explain (issue: v.BaseIssue<unknown>, name: string): string {
  return printable(sentence(issue, name))
}

function sentence (issue: v.BaseIssue<unknown>, name: string): string {
  const where = [name, ...(issue.path ?? []).map(item => String(item.key))].join('.')
  if (issue.kind === 'schema' && issue.type === 'strict_object' && issue.expected === 'never')
    return `${where} is not a known option: remove it or mend its name`
  if (issue.kind === 'schema' && issue.received === 'undefined' && issue.type === 'strict_object')
    return `${where} is required`
  const must = issue.message.startsWith('must ')
    ? issue.message
    : `must be ${issue.expected === 'Object' ? 'an object' : issue.expected ?? 'valid'}`
  return `${where} ${must}, got ${show(issue.input, where)}`
}

/**
 * Returns a value for a message: short, and without the password of a URL or of a malformed URL.
 */
function show (value: unknown, where: string): string {
  if (typeof value === 'string') {
    const isAddress = /(?:url|database|redis)$/i.test(where) && value !== ''
    if (/secret|password|token/i.test(where) || (isAddress && !/^[a-z+]+:\/\//i.test(value)))
      return `a string of ${value.length} characters`
    return `'${value.replace(/\/\/.*@/s, '//***@').replace(/\?.*/s, '?***').slice(0, 60)}'`
  }
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  return typeof value === 'function' ? 'a function' : String(value)
}

// Freezes the result, except objects of the caller that a schema passes through (a registry, a
// client, a document), because they may have state.
function freezeOwn<T> (value: T, callers: ReadonlySet<unknown>): T {
  if (!isPlain(value) || Object.isFrozen(value) || callers.has(value)) return value
  for (const inner of Object.values(value)) freezeOwn(inner, callers)
  return Object.freeze(value)
}

/** Returns all plain objects and arrays that are reachable through plain objects and arrays. */
function plainPartsOf (value: unknown, found = new Set<unknown>()): ReadonlySet<unknown> {
  if (!isPlain(value) || found.has(value)) return found
  found.add(value)
  for (const descriptor of Object.values(Object.getOwnPropertyDescriptors(value)))
    plainPartsOf(descriptor.value, found)
  return found
}

function isPlain (value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === Array.prototype || prototype === null
}

const durationMessage = "must be a duration with a unit, such as '250ms', '30s' or '5m'"

// With longer times, Node's timers fire at once and PostgreSQL's settings fail.
const longestTimeout = 2 ** 31 - 1
const longestDuration = 36_500 * 86_400_000

/**
 * A duration with its unit, as whole milliseconds: `'250ms'`, `'30s'`, `'5m'`, `'1h'`, `'7d'`. A
 * number without unit is refused, and so is a duration that rounds to 0.
 */
export const duration: v.GenericSchema<string, number> = durationUpTo(
  longestDuration,
  'must be a duration of at most 100 years'
)

/**
 * A {@link duration} for a timer: at most 24 days, the maximum of timers and PostgreSQL's timeouts.
 */
export const timeout: v.GenericSchema<string, number> = durationUpTo(
  longestTimeout,
  'must be a duration of at most 24 days'
)

function durationUpTo (longest: number, tooLong: string): v.GenericSchema<string, number> {
  return v.pipe(
    v.string(durationMessage),
    v.regex(/^\d{1,20}(?:\.\d{1,20})?(?:ms|s|m|h|d)$/, durationMessage),
    v.check(text => milliseconds(text) > 0, durationMessage),
    v.check(text => milliseconds(text) <= longest, tooLong),
    v.transform(milliseconds)
  )
}

// Rounds to whole milliseconds, because PostgreSQL reads '0.4' as 0, which means no timeout.
function milliseconds (text: string): number {
  return Math.round(ms(text as StringValue))
}

/** A whole number above zero. */
export const positiveInteger: v.GenericSchema<number> = v.pipe(
  v.number('must be a positive integer'),
  v.safeInteger('must be a positive integer'),
  v.minValue(1, 'must be a positive integer')
)

/** A string of at least one character. */
export const nonEmptyString: v.GenericSchema<string> = v.pipe(
  v.string('must be a non-empty string'),
  v.minLength(1, 'must be a non-empty string')
)

const secret = v.pipe(
  v.string('must be a string of at least 32 characters'),
  v.minLength(32, 'must be a string of at least 32 characters')
)

/**
 * A secret of at least 32 characters, or `[new, old]` during a rotation. The output is a list, the
 * newest first.
 */
export const secretSchema: v.GenericSchema<string | readonly [string, string], readonly string[]> = v.pipe(
  v.union(
    [secret, v.strictTuple([secret, secret])],
    'must be a string of at least 32 characters, or a pair of them'
  ),
  v.transform((input): readonly string[] => typeof input === 'string' ? [input] : input)
)

/** `true` or `false`. */
export const bool: v.GenericSchema<boolean> = v.boolean('must be true or false')

/** A function, passed through unchanged. */
export function fn<T extends (...args: never[]) => unknown> (): v.GenericSchema<T> {
  return v.custom<T>(value => typeof value === 'function', 'must be a function')
}

/**
 * An object of the caller with these methods: a client, a pool, a registry. It is used as it is and
 * never copied.
 */
export function instance<T> (what: string, ...methods: string[]): v.GenericSchema<T> {
  return v.custom<T>(value => {
    if (typeof value !== 'object' || value === null) return false
    return methods.every(method => typeof (value as Record<string, unknown>)[method] === 'function')
  }, `must be ${what}`)
}

/** One of these strings. */
export function oneOf<const T extends string> (...values: readonly T[]): v.GenericSchema<T> {
  return v.picklist(values, `must be one of ${values.map(value => `'${value}'`).join(', ')}`)
}
