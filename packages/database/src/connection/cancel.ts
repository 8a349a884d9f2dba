import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

import type { WireClient } from './pg-internals.ts'

const cancelRequestCode = 80_877_102

/** The longest that one cancel request may take, in milliseconds. */
const requestMs = 2_000

/** How long a backend may still be at work when its pool closes, in milliseconds. */
const farewellMs = 1_000

/** The wait after the n-th cancel request, in milliseconds: 10, 20, … up to 1 s. */
const backOffMs = (attempt: number): number => Math.min(10 * 2 ** attempt, 1_000)

/**
 * Stops what runs on connections that are being destroyed. A cancel request names a backend and no statement, and comes
 * on a connection of its own: it has no effect if it arrives before the statement. So it is repeated until the backend
 * answers that it is idle. Until then the connection stays open and counts as used: else the next caller would open
 * another one, and more backends would be at work than the pool may have.
 */
export class BackendStopper {
  readonly #pending = new Set<() => void>()
  #isClosing = false

  /**
   * Resolves when the backend is idle, its connection has ended, or after `patience` milliseconds. Never rejects.
   *
   * @param patience 0 for a connection that answers nothing any more: one request is sent, and not waited for.
   */
  async stop (client: WireClient, patience: number): Promise<void> {
    const request = cancelRequest(client)
    // PGlite has no backend to ask, and a connection that failed to start has no key.
    if (request === undefined) return
    if (patience === 0) {
      void send(request)
      return
    }
    const { promise: idle, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, this.#isClosing ? Math.min(patience, farewellMs) : patience)
    const stopped = new AbortController()
    this.#pending.add(resolve)
    client.connection.once('readyForQuery', resolve)
    client.connection.once('end', resolve)
    // A statement whose rows are read in chunks has no Sync yet. A second Sync is answered by a second ReadyForQuery.
    client.connection.sync()
    void idle.then(() => { stopped.abort() })
    for (let attempt = 0; !stopped.signal.aborted; attempt++) {
      await Promise.race([send(request), idle])
      await Promise.race([sleep(backOffMs(attempt), undefined, { signal: stopped.signal }).catch(() => {}), idle])
    }
    clearTimeout(timer)
    this.#pending.delete(resolve)
  }

  /** From now on waits last one second at most, those under way included. */
  close (): void {
    this.#isClosing = true
    for (const resolve of this.#pending) setTimeout(resolve, farewellMs).unref()
  }
}

/** Sends one cancel request, best-effort. The connection must not be used again: the request may arrive late. */
export function requestCancel (client: WireClient): void {
  const request = cancelRequest(client)
  if (request !== undefined) void send(request)
}

interface CancelRequest {
  readonly host: string
  readonly port: number
  readonly message: Buffer
}

// https://www.postgresql.org/docs/current/protocol-message-formats.html (CancelRequest)
function cancelRequest ({ host, port, processID, secretKey }: WireClient): CancelRequest | undefined {
  if (processID === null || secretKey === null || !port) return undefined
  const message = Buffer.alloc(16)
  message.writeInt32BE(16, 0)
  message.writeInt32BE(cancelRequestCode, 4)
  message.writeInt32BE(processID, 8)
  message.writeInt32BE(secretKey, 12)
  return { host, port, message }
}

/** Resolves when the server has closed the connection of the request, which it does after it has passed it on. */
function send ({ host, port, message }: CancelRequest): Promise<void> {
  const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host)
  return new Promise(resolve => {
    socket.setTimeout(requestMs, () => socket.destroy())
    socket.on('error', () => socket.destroy())
    socket.on('close', () => { resolve() })
    // Without a reader the end of the connection is not seen.
    socket.resume()
    socket.end(message)
  })
}
