import type { SchemaSample, Schema, Slot } from './schema.ts'
import { sample, variantsOf } from './schema.ts'
import type { Route } from './route-table.ts'

/** The changeable parts of a request. */
export interface Draft {
  readonly params: Record<string, unknown>
  readonly query: Record<string, unknown>
  readonly headers: Record<string, unknown>
  readonly body: unknown
  readonly hasBody: boolean
}

/**
 * The application's own values for a route. A function receives rows of the tenant to which the
 * values must belong.
 */
export interface RouteExample {
  readonly params?: ExampleOf<Readonly<Record<string, unknown>>>
  readonly query?: ExampleOf<Readonly<Record<string, unknown>>>
  readonly headers?: ExampleOf<Readonly<Record<string, unknown>>>
  readonly body?: ExampleOf<BodyExample>
  /** Messages for a websocket. A message that is not a string is sent as JSON. */
  readonly messages?: ExampleOf<readonly unknown[]>
}

/** A body of a request. Not `unknown`, so that the compiler knows the rows of a function. */
export type BodyExample = object | string | number | boolean | null

/** A value, or a function of one row of each table. */
export type ExampleOf<T> = T | ((rows: Readonly<Record<string, Record<string, unknown>>>) => T)

/** A draft of a route's request with its slots. */
export interface Form {
  readonly draft: Draft
  readonly slots: readonly Slot[]
}

const bodied = new Set(['POST', 'PUT', 'PATCH'])
const param = /:([A-Za-z0-9_]+)(?:\((?:[^()]|\([^()]*\))*\))?(\?)?/g

/** Returns the names of the parameters in a route's URL. `*` is the rest of the path. */
function paramsOf (url: string): string[] {
  const names = [...url.matchAll(param)].map(([, name = '']) => name)
  return url.includes('*') ? [...names, '*'] : names
}

/** Returns the URL of a draft, with its query. */
export function urlOf (route: Route, draft: Draft): string {
  const path = route.url
    .replaceAll(param, (_, name: string) => encodeURIComponent(text(draft.params[name])))
    .replace('*', () => text(draft.params['*']).split('/').map(encodeURIComponent).join('/'))
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(draft.query)) {
    for (const each of [value].flat()) if (each !== undefined) query.append(name, text(each))
  }
  return `${path.startsWith('/') ? path : `/${path}`}${query.size > 0 ? `?${query}` : ''}`
}

function text (value: unknown): string {
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value ?? '')
}

/** Returns the number of forms of a route: one for each value of its longest enum. */
export function formsOf ({ schema }: Route): number {
  return Math.max(
    ...['params', 'querystring', 'query', 'body'].map(part => variantsOf(schemaOf(schema[part]) ?? {}))
  )
}

/**
 * Creates the draft of a route from its schemas and the example.
 *
 * @returns the reason as text if neither describes a part
 */
export function formOf (
  route: Route,
  example: RouteExample,
  rows: Readonly<Record<string, Record<string, unknown>>>,
  newText: () => string,
  variant: number
): Form | string {
  const { schema, url, method } = route
  const slots: Slot[] = []
  const find = (id: string): Schema | undefined => route.instance.getSchemas()[id] as Schema | undefined
  const make = (part: Slot['in'], input: Schema): SchemaSample => {
    const made = sample(input, { in: part, find, text: newText, variant })
    slots.push(...made.slots)
    return made
  }
  const input = <T>(value: ExampleOf<T> | undefined): T | undefined =>
    typeof value === 'function' ? (value as (rows: object) => T)(rows) : value
  const problems: string[] = []
  const partOf = (part: 'params' | 'query' | 'headers', described: unknown): Record<string, unknown> => {
    const own = input(example[part])
    const made = make(part, schemaOf(described) ?? { type: 'object' })
    if (made.problem !== undefined && own === undefined) problems.push(made.problem)
    const values = typeof made.value === 'object' ? { ...made.value as object, ...own } : { ...own }
    for (const name of Object.keys(own ?? {}))
      if (!slots.some(slot => slot.in === part && slot.path[0] === name))
        slots.push({ in: part, path: [name], kind: 'any', isFixed: false })
    return values
  }
  const params = partOf('params', schema['params'])
  for (const name of paramsOf(url)) {
    if (!(name in params)) {
      params[name] = newText()
      slots.push({ in: 'params', path: [name], kind: 'any', isFixed: false })
    }
  }
  const query = partOf('query', schema['querystring'] ?? schema['query'])
  const headers = partOf('headers', schema['headers'])
  let body: unknown
  let hasBody = false
  if ('body' in example) {
    body = input(example.body)
    hasBody = body !== undefined && body !== null
    slots.push(...slotsIn(body))
  } else if (bodied.has(method)) {
    const described = schemaOf(schema['body'])
    if (described === undefined)
      return 'its body is described by no schema: add one, or give an example in options.routes'
    const made = make('body', described)
    if (made.problem !== undefined) problems.push(made.problem)
    body = made.value
    hasBody = true
  }
  if (problems.length > 0) return `${problems.join('; ')}: give an example in options.routes`
  return { draft: { params, query, headers, body, hasBody }, slots }
}

/**
 * Returns the names of the properties that a route requires in its body; undefined where all are
 * required, or no schema lists them.
 */
export function requiredOf ({ schema }: Route): readonly string[] | undefined {
  const body = schemaOf(schema['body'])
  const names = Object.keys(body?.['properties'] as object ?? {})
  const required = (body?.['required'] ?? []) as readonly string[]
  return names.some(name => !required.includes(name)) ? required : undefined
}

// Returns the JSON schema of a part. Fastify also accepts a map of names to schemas, and for a body
// one schema for each content type.
function schemaOf (input: unknown): Schema | undefined {
  if (typeof input !== 'object' || input === null) return undefined
  const schema = input as Schema
  if ('content' in schema) {
    const content = schema['content'] as Record<string, { readonly schema?: Schema }>
    return (content['application/json'] ?? Object.values(content)[0])?.schema
  }
  const keywords = ['type', 'properties', '$ref', 'allOf', 'anyOf', 'oneOf', 'enum', 'const', '$id',
    'additionalProperties']
  if (keywords.some(word => word in schema)) return schema
  const isMap = Object.values(schema).length > 0 &&
    Object.values(schema).every(each => typeof each === 'object')
  return isMap && Object.getPrototypeOf(schema) === Object.prototype
    ? { type: 'object', properties: schema }
    : undefined
}

/** Returns a slot for every text and number of an example. */
function slotsIn (value: unknown, path: readonly (string | number)[] = []): Slot[] {
  if (typeof value === 'string' || typeof value === 'number')
    return [{ in: 'body', path, kind: 'any', isFixed: false }]
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, member]) =>
    slotsIn(member, [...path, Array.isArray(value) ? Number(name) : name])
  )
}

/** Returns a copy of a draft with one value replaced or added. */
export function replaced (draft: Draft, slot: Pick<Slot, 'in' | 'path'>, value: unknown): Draft {
  const copy = structuredClone(draft)
  const [first, ...rest] = slot.path
  if (first === undefined) return { ...copy, body: value }
  let at = (slot.in === 'body' ? copy.body ?? {} : copy[slot.in]) as Record<string | number, unknown>
  let last = first
  for (const step of rest) {
    if (typeof at[last] !== 'object' || at[last] === null) at[last] = {}
    at = at[last] as Record<string | number, unknown>
    last = step
  }
  at[last] = value
  return copy
}

/** Returns the value in a slot. */
export function valueIn (draft: Draft, { in: part, path }: Pick<Slot, 'in' | 'path'>): unknown {
  return path.reduce<unknown>(
    (at, step) => (at as Record<string | number, unknown> | undefined)?.[step],
    draft[part]
  )
}
