import type { WireClient } from '@fastify-tenancy/postgres/client'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'

import type { Session } from './connection-state.ts'

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

  /** Fails the batch that is on its way, and closes the connection as soon as its backend is idle. It counts as borrowed until then. */
  end (client: pg.PoolClient, state: Session, timeoutMs: number, onReturn: () => void): void {
    const close = (): void => {
      client.release(true)
      state.client.connection.stream.destroy()
      onReturn()
    }
    if (!state.isBusy) {
      close()
      return
    }
    this.#stop(state.client, timeoutMs, state.abandon()).then(close, close)
  }

  /**
   * Resolves when the backend is idle, its connection has ended, or after `patience` milliseconds. Never rejects.
   *
   * @param timeoutMs 0 for a connection that answers nothing any more: one request is sent, and not waited for.
   * @param idle settles when the server has answered all that was sent.
   */
  async #stop (client: WireClient, timeoutMs: number, idle: Promise<void>): Promise<void> {
    const request = cancelRequest(client)
    // PGlite has no backend to ask, and a connection that failed to start has no key.
    if (request === undefined) return
    if (timeoutMs === 0) {
      void send(request)
      return
    }
    const stopped = new AbortController()
    const { promise: over, resolve: settle } = Promise.withResolvers<void>()
    const resolve = (): void => {
      stopped.abort()
      settle()
    }
    const timer = setTimeout(resolve, this.#isClosing ? Math.min(timeoutMs, farewellMs) : timeoutMs)
    this.#pending.add(resolve)
    idle.then(resolve, resolve)
    client.connection.once('end', resolve)
    for (let attempt = 0; !stopped.signal.aborted; attempt++) {
      await Promise.race([send(request), over])
      await Promise.race([sleep(backOffMs(attempt), undefined, { signal: stopped.signal }).catch(() => {}),
        over])
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

/** Asks once that the statement on a connection be stopped. The request may arrive late, so the connection must not be used again. */
export function cancelStatement (client: WireClient): void {
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
    socket.on('close', () => {
      resolve()
    })
    // The server closes. PgBouncer takes an end of ours for a client that has gone, and drops the request.
    socket.resume()
    socket.write(message)
  })
}
