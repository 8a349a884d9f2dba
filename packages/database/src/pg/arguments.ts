import type pg from 'pg'

import { QueryRefusedError } from '../options/errors.ts'

/** A statement in the form of the arguments of `pg`'s `query()`. */
export interface PgQuery {
  readonly text: string
  readonly values: readonly unknown[]
  readonly name: string | undefined
  readonly rowMode: 'array' | undefined
  readonly types: pg.CustomTypesConfig | undefined
}

/** Called with the result or error of `query()`. */
export type Callback = (error: Error | undefined, result?: pg.QueryResult) => void

/** The arguments of a `query()` call. */
interface Call {
  /** Returns the query; throws if a tenant's handle does not run it. */
  read(): PgQuery
  readonly callback: Callback | undefined
}

/**
 * Options of a query that change the protocol, or that `request.db` has in another place, with a
 * replacement.
 */
const refused: Readonly<Record<string, string>> = {
  binary: 'leave it out: rows come as text',
  portal: 'leave it out',
  rows: "read in chunks with request.db's stream()",
  query_timeout: 'set options.database.statementTimeout, or config.tenancy.statementTimeout of the route'
}

/**
 * Reads the arguments of `query(text | config, values?, callback?)` as `pg` does.
 *
 * @throws FST_TENANCY_QUERY_REFUSED at once for an object that sends itself: its caller expects that
 * object back, and would leave a rejected promise unhandled
 */
export function readQueryArguments (config: unknown, values: unknown, callback: unknown): Call {
  const input = typeof config === 'object' && config !== null ? config as Record<string, unknown> : undefined
  if (typeof input?.['submit'] === 'function') throw new QueryRefusedError(submits)
  const found = [callback, values, input?.['callback']].find(value => typeof value === 'function')
  return {
    callback: found as Callback | undefined,
    read: () => toQuery(config, input, typeof values === 'function' ? undefined : values)
  }
}

const submits = "A tenant's handle sends statements itself, got a Query, Cursor or QueryStream: " +
  'pass its text and values, or read in chunks with the stream() of request.db'

function toQuery (
  config: unknown,
  input: Record<string, unknown> | undefined,
  values: unknown
): PgQuery {
  for (const [option, instead] of Object.entries(refused)) {
    if (input?.[option] !== undefined && input[option] !== false)
      throw new QueryRefusedError(`A tenant's handle takes no query with '${option}': ${instead}`)
  }
  const text = input === undefined ? config : input['text'] ?? ''
  if (typeof text !== 'string')
    throw new TypeError('A query must have either text or a name. Supplying neither is unsupported.')
  const bound = values ?? input?.['values'] ?? []
  if (!Array.isArray(bound)) throw new TypeError('Query values must be an array')
  return {
    text,
    values: bound,
    name: input?.['name'] === undefined ? undefined : String(input['name']),
    rowMode: input?.['rowMode'] === 'array' ? 'array' : undefined,
    types: input?.['types'] as pg.CustomTypesConfig | undefined
  }
}

/** Returns the promise of a call, or calls its callback instead. */
export function answer (work: Promise<pg.QueryResult>, callback: Callback | undefined):
  | Promise<pg.QueryResult>
  | undefined {
  if (callback === undefined) return work
  // On the next tick, because an error thrown by the callback must not reject this promise.
  work.then(
    result => process.nextTick(callback, undefined, result),
    (error: unknown) => process.nextTick(callback, error)
  )
  return undefined
}
