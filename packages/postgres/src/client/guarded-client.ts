import { InternalError } from '@fastify-tenancy/core/errors'
import type { Duplex } from 'node:stream'

import pg from 'pg'

import { MessageCheck } from './message-check.ts'
import { wireClient } from './pg-internals.ts'

const guarded = new WeakSet<pg.ClientBase>()

/**
 * A `pg.Client` whose errors never end the process: neither an `error` event without another
 * listener, nor an exception of its parser. The parser runs in the socket's listener. It throws for
 * a value of more than 512 MiB and for a truncated message.
 */
export class GuardedClient extends pg.Client {
  constructor (config?: string | pg.ClientConfig) {
    super(config)
    // Without a listener the event would end the process. The server may end the backend in the
    // packet that reports the connection as ready, before a caller could add a listener. The
    // caller learns of the error from its query, or from the event `end`.
    this.on('error', () => {})
    guardClient(this)
  }
}

/**
 * Closes the connection if this client's parser throws. The request then fails, and the pool opens
 * another connection. Idempotent.
 */
export function guardClient (client: pg.ClientBase): void {
  if (guarded.has(client)) return
  guarded.add(client)
  const { connection } = wireClient(client)
  // The client of a pool that the caller has passed in may be connected already.
  guardStream(connection.stream)
  const attach = connection.attachListeners
  connection.attachListeners = stream => {
    attach.call(connection, stream)
    guardStream(stream)
  }
}

function guardStream (stream: Duplex): void {
  const check = new MessageCheck()
  for (const parse of stream.listeners('data') as ((chunk: Buffer) => void)[]) {
    stream.off('data', parse)
    stream.on('data', (chunk: Buffer) => {
      if (stream.destroyed) return
      try {
        check.read(chunk)
        parse(chunk)
      } catch (cause) {
        stream.destroy(
          new InternalError('The answer of the database cannot be read, its connection was closed', { cause })
        )
      }
    })
  }
}
