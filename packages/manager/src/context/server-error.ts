import { sqlState } from '@fastify-tenancy/postgres/client'

/** The origin of a server error. */
interface ErrorPlace {
  readonly url: string
  readonly shard: string | undefined
}

const places = new WeakMap<object, ErrorPlace>()

/**
 * Records the origin of each server error of a pool's or a client's queries. The error itself is
 * unchanged, because callers read its code.
 */
export function noteErrorsOf (on: { query: (...args: never[]) => unknown }, target: ErrorPlace): void {
  const query = on.query.bind(on) as (...args: unknown[]) => unknown
  Object.assign(on, {
    query: (...args: unknown[]): unknown => {
      const result = query(...args)
      if (!(result instanceof Promise)) return result
      return result.catch((error: unknown) => {
        if (isServerError(error)) places.set(error, target)
        throw error
      })
    }
  })
}

/**
 * Returns an error for operators: a server error with shard, database, login, table and constraint,
 * and what to do next. Other errors are returned unchanged.
 *
 * @param work the command that failed, such as `tenancy suspend acme`
 */
export function explainServerError (error: unknown, work: string): unknown {
  if (!isServerError(error)) return error
  const { message, schema, table, constraint } = error
  const target = places.get(error)
  const at = target === undefined ? '' : `${placeText(target)}: `
  const object = table === undefined || message.includes(`"${table}"`)
    ? ''
    : `, at table ${schema === undefined ? table : `${schema}.${table}`}`
  const rule = constraint === undefined || message.includes(`"${constraint}"`)
    ? ''
    : `, by constraint ${constraint}`
  return Object.assign(
    new Error(
      `${work} failed: ${at}${message}${object}${rule} (SQLSTATE ${error.code}): ${
        nextStep(error.code, work)
      }`,
      {
        cause: error
      }
    ),
    { code: error.code }
  )
}

function placeText ({ url, shard }: ErrorPlace): string {
  const { username, host, pathname } = new URL(url)
  const login = username === '' ? '' : ` as login '${decodeURIComponent(username)}'`
  return `${shard === undefined ? '' : `shard '${shard}', `}database '${
    decodeURIComponent(pathname.slice(1))
  }' on ${host || 'the default host'}${login}`
}

function nextStep (code: string, work: string): string {
  if (code === '42501') {
    return 'run `tenancy init` with a login that may create roles, ' +
      'or set options.database.ownerUrl to a login that has the privilege'
  }
  if (/^(?:40|55P03|57014)/.test(code)) return `concurrent work prevented it: run \`${work}\` again`
  if (/^(?:08|57P)/.test(code)) return `the server ended the connection: run \`${work}\` again when it is up`
  if (/^(?:53|58)/.test(code)) return `the server is out of resources: free some, then run \`${work}\` again`
  if (/^(?:42P01|42703|42883|3F000)/.test(code)) {
    return 'an object is missing: run `tenancy init` and `tenancy protect`, ' +
      'and check migrations with `tenancy status`'
  }
  return `correct that, then run \`${work}\` again: it resumes where it stopped`
}

interface ServerError extends Error {
  readonly code: string
  readonly schema?: string
  readonly table?: string
  readonly constraint?: string
}

function isServerError (error: unknown): error is ServerError {
  return error instanceof Error && 'severity' in error && /^[0-9A-Z]{5}$/.test(sqlState(error) ?? '')
}
