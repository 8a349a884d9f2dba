import type * as v from 'valibot'

/** What valibot's schemas tell of themselves, as far as it is needed here. */
interface Shape {
  readonly type: string
  readonly message?: unknown
  /** Of objects. */
  readonly entries?: Readonly<Record<string, Shape>>
  /** Of optional values. */
  readonly wrapped?: Shape
  /** Of unions. */
  readonly options?: readonly Shape[]
}

/** Where an array stands in the place of an object, and what the schema says should. */
export interface MisplacedArray {
  readonly path: readonly string[]
  readonly message: string
}

/**
 * The first array in the place of an object; undefined where there is none. To valibot an array is an object,
 * and one without members has nothing wrong in it: `cache: []` would pass for `cache: {}`.
 */
export function misplacedArray (
  schema: v.GenericSchema<unknown, unknown>,
  input: unknown
): MisplacedArray | undefined {
  return find(schema as unknown as Shape, input, [])
}

function find (shape: Shape, input: unknown, path: readonly string[]): MisplacedArray | undefined {
  if (typeof input !== 'object' || input === null) return undefined
  if (shape.wrapped !== undefined) return find(shape.wrapped, input, path)
  if (Array.isArray(input))
    return takesArray(shape)
      ? undefined
      : { path, message: typeof shape.message === 'string' ? shape.message : 'must be an object' }
  const shapes = shape.type === 'union' ? (shape.options ?? []).filter(isObject) : [shape]
  // Of a union's objects one is meant, and nobody knows which before it fits.
  const found = shapes.map(({ entries = {} }) =>
    findIn(entries, input as Readonly<Record<string, unknown>>, path)
  )
  return found.includes(undefined) ? undefined : found[0]
}

function findIn (
  entries: Readonly<Record<string, Shape>>,
  input: Readonly<Record<string, unknown>>,
  path: readonly string[]
): MisplacedArray | undefined {
  for (const [key, shape] of Object.entries(entries)) {
    const found = Object.hasOwn(input, key) ? find(shape, input[key], [...path, key]) : undefined
    if (found !== undefined) return found
  }
  return undefined
}

/** Whatever is no object says itself what it thinks of arrays. */
function takesArray (shape: Shape): boolean {
  if (shape.type !== 'union') return !isObject(shape)
  const options = shape.options ?? []
  return !options.some(isObject) ||
    options.some(option => ['array', 'tuple', 'custom', 'unknown', 'any'].includes(option.type))
}

function isObject ({ type }: Shape): boolean {
  return type.endsWith('object') || type === 'record'
}
