import type * as v from 'valibot'

/** The used properties of valibot's schemas. */
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

/** The position of an array in place of an object, and the schema's message. */
interface MisplacedArray {
  readonly path: readonly string[]
  readonly message: string
}

/**
 * Returns the first array in place of an object, or undefined. valibot accepts an array without
 * members as an object, so `cache: []` would pass for `cache: {}`.
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
  // A union's input may match any of its objects, so it is misplaced only if every one reports an
  // array.
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

/** Whether the schema itself checks arrays, which every schema but an object does. */
function takesArray (shape: Shape): boolean {
  if (shape.type !== 'union') return !isObject(shape)
  const options = shape.options ?? []
  return !options.some(isObject) ||
    options.some(option => ['array', 'tuple', 'custom', 'unknown', 'any'].includes(option.type))
}

function isObject ({ type }: Shape): boolean {
  return type.endsWith('object') || type === 'record'
}
