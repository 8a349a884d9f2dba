import { channels, type EventTenant, type QueryEvent } from '@fastify-tenancy/core'

import { readStatementText } from '../connection/statement.ts'

/** The data of a statement in the events for observers. */
export interface Traced {
  /** Undefined for work without a tenant. */
  readonly tenant: EventTenant | undefined
  readonly text: string
  /** Milliseconds that its caller waited for a connection. */
  readonly wait: number
}

/** Runs a statement and publishes its event. Without subscribers nothing is allocated. */
export function traceQuery<T> (
  { tenant, text, wait }: Traced,
  work: () => Promise<T>,
  rowsOf: (result: T) => number
): Promise<T> {
  if (tenant === undefined || !channels.query.hasSubscribers) return work()
  return publish({ tenant, text, wait }, async event => {
    const result = await work()
    event.rows = rowsOf(result)
    return result
  })
}

/**
 * Like `traceQuery`, for rows that come in chunks. A caller that stops reading ends the statement.
 */
export async function* traceChunks (
  { tenant, text, wait }: Traced,
  chunks: () => AsyncIterableIterator<unknown[]>
): AsyncIterableIterator<unknown[]> {
  if (tenant === undefined || !channels.query.hasSubscribers) {
    yield* chunks()
    return
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let rows = 0
  publish({ tenant, text, wait }, async event => {
    await promise.finally(() => {
      event.rows = rows
    })
  }).catch(() => {}) // the reader gets the error
  try {
    for await (const chunk of chunks()) {
      rows += chunk.length
      yield chunk
    }
  } catch (error) {
    reject(error as Error)
    throw error
  } finally {
    resolve()
  }
}

async function publish<T> (
  { tenant, text, wait }: Traced & { readonly tenant: EventTenant },
  work: (event: QueryEvent) => Promise<T>
): Promise<T> {
  const { id, slug, isolation } = tenant
  const event: QueryEvent = {
    tenant: { id, slug, isolation },
    text,
    operation: readStatementText(text).keyword,
    wait,
    duration: 0,
    rows: 0
  }
  const began = performance.now()
  let result: T | undefined
  // Returns nothing to the channel, so that observers get no rows.
  await channels.query.tracePromise(async () => {
    try {
      result = await work(event)
    } finally {
      event.duration = performance.now() - began
    }
  }, event)
  return result as T
}
