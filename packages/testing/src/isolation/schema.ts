import { randomUUID } from 'node:crypto'

/** A JSON schema. */
export interface Schema {
  readonly [keyword: string]: unknown
}

/** One value of a request that the kit can replace. */
export interface Slot {
  readonly in: 'params' | 'query' | 'headers' | 'body'
  /** The path inside that part. */
  readonly path: readonly (string | number)[]
  readonly kind: 'text' | 'uuid' | 'integer' | 'number' | 'other' | 'any'
  /** Whether the schema accepts only certain values: an enum, a format, a pattern. */
  readonly isFixed: boolean
}

/** The result of {@link sample}. */
export interface SchemaSample {
  readonly value: unknown
  readonly slots: readonly Slot[]
  /** Why no value could be created; undefined if one was. */
  readonly problem: string | undefined
}

/** The input of samples. */
interface SampleContext {
  readonly in: Slot['in']
  /** Returns a schema that was added to the application, by its `$id`. */
  readonly find: (id: string) => Schema | undefined
  /** Returns a text that no other sample has. */
  readonly text: () => string
  /** The index of the enum values and alternatives to use. @default 0, the first of each */
  readonly variant?: number
}

const maxDepth = 12

/** Creates a value that fits a JSON schema, and lists its slots. */
export function sample (schema: Schema, context: SampleContext): SchemaSample {
  const maker = new Maker(schema, context)
  const value = maker.make(schema, [], 0)
  return { value, slots: maker.slots, problem: maker.problem }
}

/**
 * Returns the number of variants of a schema: the length of its longest enum or list of
 * alternatives, at most 8.
 */
export function variantsOf (schema: Schema, depth = 0): number {
  if (depth > maxDepth) return 1
  const own = [schema['enum'], schema['anyOf'], schema['oneOf']].map(list =>
    Array.isArray(list) ? list.length : 1
  ).concat(schema['type'] === 'boolean' ? 2 : 1)
  const inner = Object.values(schema).filter(member => typeof member === 'object' && member !== null)
    .map(member => variantsOf(member as Schema, depth + 1))
  return Math.min(8, Math.max(...own, ...inner, 1))
}

class Maker {
  readonly slots: Slot[] = []
  problem: string | undefined
  readonly #root: Schema
  readonly #context: SampleContext

  constructor (root: Schema, context: SampleContext) {
    this.#root = root
    this.#context = context
  }

  make (input: Schema, path: readonly (string | number)[], depth: number): unknown {
    if (depth > maxDepth) return undefined
    const schema = this.#resolve(input)
    const { variant = 0 } = this.#context
    const list = (name: string): unknown[] | undefined =>
      Array.isArray(schema[name]) && (schema[name] as unknown[]).length > 0
        ? schema[name] as unknown[]
        : undefined
    const allOf = list('allOf')
    if (allOf !== undefined)
      return this.make(merge(schema, allOf.map(each => this.#resolve(each as Schema))), path, depth + 1)
    const choice = list('oneOf') ?? list('anyOf')
    if (choice !== undefined) {
      const chosen = choice[variant % choice.length] as Schema
      const { oneOf: _one, anyOf: _any, ...rest } = schema
      return this.make(merge(rest, [this.#resolve(chosen)]), path, depth + 1)
    }
    if ('const' in schema) return schema['const']
    const values = list('enum')
    if (values !== undefined) return this.#slot(path, 'other', true, values[variant % values.length])
    const type = typeOf(schema)
    if (type === 'object') return this.#object(schema, path, depth)
    if (type === 'array') return this.#array(schema, path, depth)
    const [example] = [...(list('examples') ?? []), ...('example' in schema ? [schema['example']] : []),
      ...('default' in schema ? [schema['default']] : [])]
    if (type === 'integer' || type === 'number')
      return this.#slot(path, type, false, example ?? number(schema, type))
    if (type === 'boolean') return example ?? variant % 2 === 0
    if (type === 'null') return null
    if (type === undefined) return this.#slot(path, 'any', false, example ?? this.#context.text())
    return this.#text(schema, path, example)
  }

  #object (schema: Schema, path: readonly (string | number)[], depth: number): unknown {
    const properties = (schema['properties'] ?? {}) as Record<string, Schema>
    const made: Record<string, unknown> = {}
    for (const [name, property] of Object.entries(properties)) {
      const value = this.make(property, [...path, name], depth + 1)
      if (value !== undefined) made[name] = value
    }
    return made
  }

  #array (schema: Schema, path: readonly (string | number)[], depth: number): unknown[] {
    const { items } = schema
    const count = Math.max(1, Number(schema['minItems'] ?? 1))
    return Array.from({ length: Math.min(count, 10) }, (_, at) => {
      const item = Array.isArray(items) ? items[at] as Schema | undefined : items as Schema | undefined
      return this.make(item ?? {}, [...path, at], depth + 1)
    })
  }

  #text (schema: Schema, path: readonly (string | number)[], example: unknown): unknown {
    const { format, pattern } = schema
    if (typeof format === 'string') {
      const made = formats[format]?.(this.#context.text())
      if (made !== undefined)
        return this.#slot(path, format === 'uuid' ? 'uuid' : 'text', format !== 'uuid', example ?? made)
    }
    if (typeof pattern === 'string') {
      const fits = new RegExp(pattern, 'u')
      const found = [example, randomUUID(), ...candidates, this.#context.text()].find(each =>
        typeof each === 'string' && fits.test(each)
      )
      if (found === undefined) this.problem ??= `no value for the pattern ${pattern} of ${path.join('.')}`
      return this.#slot(path, fits.test(randomUUID()) ? 'uuid' : 'text', true, found)
    }
    const min = Number(schema['minLength'] ?? 0)
    const max = Number(schema['maxLength'] ?? Infinity)
    return this.#slot(
      path,
      'text',
      false,
      example ?? this.#context.text().padEnd(min, 'x').slice(-Math.max(max, 1))
    )
  }

  #slot (path: readonly (string | number)[], kind: Slot['kind'], isFixed: boolean, value: unknown): unknown {
    this.slots.push({ in: this.#context.in, path, kind, isFixed })
    return value
  }

  #resolve (schema: Schema): Schema {
    const ref = schema?.['$ref']
    if (typeof ref !== 'string') return schema ?? {}
    const [id = '', pointer = ''] = ref.split('#')
    const base = id === '' ? this.#root : this.#context.find(id) ?? this.#context.find(`${id}#`)
    const found = pointer.split('/').filter(Boolean).reduce<unknown>(
      (at, step) =>
        (at as Schema | undefined)?.[decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')],
      base
    )
    if (found === undefined) this.problem ??= `the schema ${ref} is not known`
    return (found ?? {}) as Schema
  }
}

function typeOf (schema: Schema): string | undefined {
  const { type } = schema
  if (Array.isArray(type)) return type.find(each => each !== 'null') as string | undefined
  if (typeof type === 'string') return type
  if ('properties' in schema || 'additionalProperties' in schema) return 'object'
  return 'items' in schema ? 'array' : undefined
}

function merge (base: Schema, others: readonly Schema[]): Schema {
  const { allOf: _, ...rest } = base
  return others.reduce<Schema>((all, { ...other }) => ({
    ...all,
    ...other,
    properties: { ...all['properties'] as object, ...other['properties'] as object },
    required: [...(all['required'] as string[] ?? []), ...(other['required'] as string[] ?? [])]
  }), rest)
}

function number (schema: Schema, type: string): number {
  const step = Number(schema['multipleOf'] ?? 1)
  const low = Number(
    schema['minimum'] ??
      (schema['exclusiveMinimum'] === undefined ? NaN : Number(schema['exclusiveMinimum']) + step)
  )
  const high = Number(
    schema['maximum'] ??
      (schema['exclusiveMaximum'] === undefined ? NaN : Number(schema['exclusiveMaximum']) - step)
  )
  const wanted = Number.isNaN(low) ? Math.min(1, Number.isNaN(high) ? 1 : high) : low
  const value = Math.ceil(wanted / step) * step
  return type === 'integer' ? Math.ceil(value) : value
}

const formats: Record<string, (text: string) => string> = {
  uuid: () => randomUUID(),
  'date-time': () => '2026-01-15T12:00:00.000Z',
  date: () => '2026-01-15',
  time: () => '12:00:00Z',
  duration: () => 'PT1H',
  email: text => `${text}@example.com`,
  uri: text => `https://127.0.0.1:9/${text}`,
  url: text => `https://127.0.0.1:9/${text}`,
  'uri-reference': text => `/${text}`,
  hostname: text => `${text}.example.com`,
  ipv4: () => '192.0.2.1',
  ipv6: () => '2001:db8::1'
}

const candidates = ['1', '12', '1234', '123456', 'a', 'ab', 'abc', 'abcdef', 'A', 'AB', 'ABC', 'ABCDEF',
  'Abc1', 'a-b', 'a_b', '2026-01', '2026-01-15', '12:00', '#aabbcc', '+31201234567', 'x@example.com',
  'https://example.com', '1.0', '1.0.0', '/a', 'EUR', 'en', 'en-US']
