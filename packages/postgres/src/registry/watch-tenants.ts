import type { EndWatch, TenantChange } from '@fastify-tenancy/core'
import { Throttle } from '@fastify-tenancy/core/throttle'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'

import type { SqlClient } from '../client/sql-client.ts'
import { ChangeFeed } from './change-feed.ts'
import { ChangeLog } from './change-log.ts'

/**
 * Opens a connection for LISTEN, which the caller ends. Undefined if notifications cannot arrive.
 */
export type OpenListener = () => Promise<Pick<pg.Client, 'query' | 'on' | 'end'> | undefined>

type Listener = NonNullable<Awaited<ReturnType<OpenListener>>>

/** The payload for a migration that changed tables. Older versions drop it. */
export const catalogChange = 'catalog'

/**
 * Milliseconds between two heartbeats, and the timeout of a heartbeat. Without them, TCP alone
 * would notice a broken route only after hours.
 */
const pulse = { every: 10_000, within: 5_000 }

const farewell = 1_000

/** Limits 'all', because it reloads every tenant and any session may send it. */
const allRate = { burst: 5, everyMs: 10_000 }

/** Options of {@link watchTenants}. */
interface WatchOptions {
  /** The connection that reads the change log. @default the connection that listens */
  readonly reader?: SqlClient
  /** Called whenever a migration may have changed tables. @default no call */
  readonly onCatalog?: () => void
  /**
   * Milliseconds between two heartbeats, and the timeout of one heartbeat.
   * @default 10 s and 5 s
   */
  readonly pulse?: Readonly<Record<'every' | 'within', number>>
}

/** Milliseconds before the n-th reconnect: 100, 200, … up to 5 s, with jitter down to half. */
const backOff = (attempt: number): number =>
  Math.min(100 * 2 ** (attempt - 1), 5_000) * (0.5 + Math.random() / 2)

/**
 * Runs `LISTEN tenancy` on a separate connection, and reconnects when the connection is lost.
 * Changes may have been missed meanwhile, so each new connection begins with `'all'`.
 *
 * Any session of the database may notify the channel, so a message is only a hint that a tenant may
 * have changed. One read of the change log finds the real changes and serves all messages of
 * an interval. `'all'` is passed on at a bounded rate. Every other message is dropped.
 *
 * @returns the function that ends it. Rejects if the first connection cannot be opened.
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
    // The 'end' event reports the loss. Without this listener the error would end the process.
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
    // A failed query means a broken connection, which the 'end' event reports.
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
        // Either the watch has ended, or the server is not back yet. The loop's condition decides.
      }
    }
  }

  const end = async (): Promise<void> => {
    ended.abort()
    all.stop()
    catalog.stop()
    // A server that no longer answers never confirms the end of the connection, so do not wait for
    // it.
    await Promise.race([client?.end(), sleep(farewell, undefined, { ref: false })])
  }
  return Object.assign(end, { isHearing: () => isHearing })
}
