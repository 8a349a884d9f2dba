import type pg from 'pg'

type Query = (...args: unknown[]) => unknown
type Connect = (
  callback?: (
    error: Error | undefined,
    client: pg.PoolClient | undefined,
    done: (release?: Error | boolean) => void
  ) => void
) => Promise<pg.PoolClient> | undefined

/**
 * Calls `onQuery` with the text of each statement on a pool and on its clients, synchronously in
 * the caller's context. The pool otherwise behaves as before.
 *
 * @returns a function that ends the observation
 */
export function observePool (pool: pg.Pool, onQuery: (sql: string) => void): () => void {
  const target = pool as unknown as { query: Query; connect: Connect }
  const query = target.query
  const connect = target.connect
  // pool.query() checks out a client for the same statement, which must not be reported twice.
  let isInside = false

  target.query = (...args) => {
    tell(args[0], onQuery)
    isInside = true
    try {
      return query.apply(pool, args)
    } finally {
      isInside = false
    }
  }
  target.connect = callback => {
    if (isInside) return connect.call(pool, callback)
    if (callback !== undefined) {
      return connect.call(pool, (error, client, done) => {
        // `client.release` replaces `done`, and also restores the client's methods.
        if (client === undefined) callback(error, client, done)
        else callback(error, observeClient(client, onQuery), client.release)
      })
    }
    return connect.call(pool)?.then(client => observeClient(client, onQuery))
  }
  return () => {
    restore(target, { query, connect })
  }
}

// Observes the client only until its release. Otherwise its next owner's statements could be
// reported twice.
function observeClient (client: pg.PoolClient, onQuery: (sql: string) => void): pg.PoolClient {
  const target = client as unknown as { query: Query; release: (error?: Error | boolean) => void }
  const { query, release } = target
  target.query = (...args) => {
    tell(args[0], onQuery)
    return query.apply(client, args)
  }
  target.release = error => {
    restore(target, { query })
    release(error)
  }
  return client
}

// Restores methods: an own method is set again, an inherited one needs only the deletion.
function restore (target: object, methods: Readonly<Record<string, unknown>>): void {
  const inherited = Object.getPrototypeOf(target) as Readonly<Record<string, unknown>>
  for (const [name, method] of Object.entries(methods)) {
    if (inherited[name] === method) Reflect.deleteProperty(target, name)
    else Reflect.set(target, name, method)
  }
}

// Accepts a text, an object with a text, or a query object such as a pg-cursor. An error in
// `onQuery` must not fail the statement.
function tell (input: unknown, onQuery: (sql: string) => void): void {
  const text: unknown = typeof input === 'object' && input !== null && 'text' in input ? input.text : input
  if (typeof text !== 'string') return
  try {
    onQuery(text)
  } catch {}
}
