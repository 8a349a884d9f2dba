import type { WireClient } from '@fastify-tenancy/postgres/client'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'

import type { ConnectionState } from './connection-state.ts'

const cancelRequestCode = 80_877_102

/** Milliseconds that one cancel request may take. */
const requestMs = 2_000

/** Milliseconds that a backend may still run when its pool closes. */
const farewellMs = 1_000

/** Returns the milliseconds to wait after the n-th cancel request: 10, 20, … up to 1,000. */
const backOffMs = (attempt: number): number => Math.min(10 * 2 ** attempt, 1_000)

/**
 * Stops the statements of connections that are being destroyed. A cancel request names a backend
 * and is lost if it precedes the statement, so it is repeated until the backend is idle. Until then
 * the connection counts as checked out, so that no more backends run than the pool may have.
 */
export class BackendStopper {
  readonly #pending = new Set<() => void>()
  #isClosing = false

  /**
   * Fails the batch in flight and closes the connection once its backend is idle. Until then it
   * counts as checked out.
   */
  end (client: pg.PoolClient, state: ConnectionState, timeoutMs: number, onReturn: () => void): void {
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
   * Resolves when the backend is idle, when its connection has ended, or after `timeoutMs`. Never
   * rejects.
   *
   * @param timeoutMs 0 for a connection that does not answer: sends one request and does not wait
   * @param idle settles when the server has sent its whole reply
   */
  async #stop (client: WireClient, timeoutMs: number, idle: Promise<void>): Promise<void> {
    const request = cancelRequest(client)
    // PGlite has no backend to cancel, and a connection that failed to start has no secret key.
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

  /** Limits all waits to one second, those in progress included. */
  close (): void {
    this.#isClosing = true
    for (const resolve of this.#pending) setTimeout(resolve, farewellMs).unref()
  }
}

/**
 * Sends one cancel request. It may arrive late and cancel a later statement, so the connection must
 * not be used again.
 */
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

/**
 * Resolves when the server has closed the connection of the request, which it does after forwarding
 * it.
 */
function send ({ host, port, message }: CancelRequest): Promise<void> {
  const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host)
  return new Promise(resolve => {
    socket.setTimeout(requestMs, () => socket.destroy())
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      resolve()
    })
    // Leave closing to the server. PgBouncer drops the request if the client closes first.
    socket.resume()
    socket.write(message)
  })
}
