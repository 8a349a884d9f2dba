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
 * Has `onQuery` hear the text of each statement that is run on a pool, when and where its caller
 * runs it: on the pool itself, and on clients that are borrowed from it. Nothing else of the pool
 * changes.
 *
 * @returns ends it
 */
export function observePool (pool: pg.Pool, onQuery: (sql: string) => void): () => void {
  const target = pool as unknown as { query: Query; connect: Connect }
  const query = target.query
  const connect = target.connect
  // pool.query() borrows a client of its own: that is the same statement once more.
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
        // `done` gives the client back as its release() does.
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

// For this borrower alone: the next may be one whose statements were heard already.
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

// As they were: its own where somebody had put some there, and else its class's.
function restore (target: object, methods: Readonly<Record<string, unknown>>): void {
  const inherited = Object.getPrototypeOf(target) as Readonly<Record<string, unknown>>
  for (const [name, method] of Object.entries(methods)) {
    if (inherited[name] === method) Reflect.deleteProperty(target, name)
    else Reflect.set(target, name, method)
  }
}

// A text, an object with a text, or a query of pg-cursor's and the like. Whoever listens must not
// fail the statement.
function tell (input: unknown, onQuery: (sql: string) => void): void {
  const text: unknown = typeof input === 'object' && input !== null && 'text' in input ? input.text : input
  if (typeof text !== 'string') return
  try {
    onQuery(text)
  } catch {}
}
