import { Throttle, type EndWatch, type TenantChange } from '@fastify-tenancy/core'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'

import type { SqlClient } from '../client/sql-client.ts'
import { ChangeFeed } from './change-feed.ts'
import { ChangeLog } from './change-log.ts'

/** Opens a connection for listening alone, which whoever asked for it ends; undefined where none can hear anything. */
export type OpenListener = () => Promise<Pick<pg.Client, 'query' | 'on' | 'end'> | undefined>

type Listener = NonNullable<Awaited<ReturnType<OpenListener>>>

/** The payload that says that a migration changed tables. A process that does not know it drops it. */
export const catalogChange = 'catalog'

/** Milliseconds between two signs of life, and until one is taken for missing: behind a lost route TCP alone waits for hours. */
const pulse = { every: 10_000, within: 5_000 }

const farewell = 1_000

/** How often "all" is passed on: it has every tenant looked up again, and any session may send it. */
const allRate = { burst: 5, everyMs: 10_000 }

/** Options of {@link watchTenants}. */
export interface WatchOptions {
  /** Where the database is read. @default the connection that listens */
  readonly reader?: SqlClient
  /** Called after a migration changed tables, and whenever one may have. @default nothing is done */
  readonly onCatalog?: () => void
  /** Milliseconds between two signs of life, and until one is taken for missing. @default 10 s and 5 s */
  readonly pulse?: Readonly<Record<'every' | 'within', number>>
}

/** The wait before the n-th attempt to connect again, in milliseconds: 100, 200, … up to 5 s, half of it random. */
const backOff = (attempt: number): number =>
  Math.min(100 * 2 ** (attempt - 1), 5_000) * (0.5 + Math.random() / 2)

/**
 * `LISTEN tenancy` on a connection of its own, opened again whenever it is lost. While it was away anything may have changed,
 * so each new connection begins with `'all'`.
 *
 * Any session of the database may notify the channel. So a message is taken for no more than the id of a tenant that may have
 * changed: whether it has, and under which names it was known, is read from the database, for all messages of an interval at
 * once. `'all'` is passed on at a bounded rate. Every other message is dropped.
 *
 * @returns the function that ends it. Rejects when the first connection cannot be had.
 */
export async function watchTenants (
  open: OpenListener,
  listener: (change: TenantChange | 'all') => void,
  { reader, onCatalog = () => {}, pulse: { every, within } = pulse }: WatchOptions = {}
): Promise<EndWatch> {
  const ended = new AbortController()
  const log = new ChangeLog()
  const all = new Throttle(() => listener('all'), allRate)
  const catalog = new Throttle(onCatalog, allRate)
  let isHearing = false
  let client = await listen()
  if (client === undefined) return Object.assign(async () => {}, { isHearing: () => false })

  async function listen (): Promise<Listener | undefined> {
    const next = await open()
    if (next === undefined) return undefined
    // The end tells of the loss; unheard, the error would end the process.
    next.on('error', () => {})
    const feed = new ChangeFeed(reader ?? next, log, {
      onChange: listener,
      onAll: () => {
        all.call()
      },
      signal: ended.signal
    })
    next.on('notification', ({ payload = '' }) => {
      if (payload === catalogChange) catalog.call()
      else feed.receive(payload)
    })
    try {
      await next.query('listen tenancy')
    } catch (error) {
      await next.end().catch(() => {})
      throw error
    }
    const beats = setInterval(() => {
      beat(next)
    }, every).unref()
    isHearing = true
    next.on('end', () => {
      isHearing = false
      clearInterval(beats)
      if (!ended.signal.aborted) void listenAgain()
    })
    return next
  }

  function beat (client: Listener): void {
    const late = setTimeout(() => {
      client.end().catch(() => {})
    }, within).unref()
    // What breaks the connection ends it, and that is heard.
    client.query('select 1').catch(() => {}).finally(() => {
      clearTimeout(late)
    })
  }

  async function listenAgain (): Promise<void> {
    for (let attempt = 1; !ended.signal.aborted; attempt++) {
      try {
        await sleep(backOff(attempt), undefined, { signal: ended.signal, ref: false })
        client = await listen()
        if (ended.signal.aborted) await client?.end()
        else {
          onCatalog()
          listener('all')
        }
        return
      } catch {
        // Ended, or not back yet: the loop's condition tells which.
      }
    }
  }

  const end = async (): Promise<void> => {
    ended.abort()
    all.stop()
    catalog.stop()
    // A server that no longer answers does not answer a farewell either.
    await Promise.race([client?.end(), sleep(farewell, undefined, { ref: false })])
  }
  return Object.assign(end, { isHearing: () => isHearing })
}
