import { InternalError } from '@fastify-tenancy/core'
import type { Duplex } from 'node:stream'

import pg from 'pg'

import { MessageCheck } from './message-check.ts'
import { wireClient } from './pg-internals.ts'

const guarded = new WeakSet<pg.ClientBase>()

/**
 * A `pg.Client` that lives through what its parser throws. The parser runs in the socket's listener, where an exception
 * ends the process: a value of more than 512 MiB, a message that was cut.
 */
export class GuardedClient extends pg.Client {
  constructor (config?: string | pg.ClientConfig) {
    super(config)
    guardClient(this)
  }
}

/**
 * Has what the parser of this client throws close its connection: the request fails, and the pool opens another one.
 * A second call does nothing.
 */
export function guardClient (client: pg.ClientBase): void {
  if (guarded.has(client)) return
  guarded.add(client)
  const { connection } = wireClient(client)
  // The client of a pool that was passed in is open already.
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
