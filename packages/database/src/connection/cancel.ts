import { connect } from 'node:net'

import type { WireClient } from './pg-internals.ts'

const cancelRequestCode = 80_877_102

/**
 * Asks the server to stop what a connection runs. To be used only on a connection that is being destroyed:
 * the request names a backend, not a statement, so that it could hit whatever the connection would run next.
 *
 * https://www.postgresql.org/docs/current/protocol-message-formats.html (CancelRequest)
 */
export function cancelBackend ({ host, port, processID, secretKey }: WireClient): void {
  // PGlite has no backend to ask, and a connection that failed to start has no key.
  if (processID === null || secretKey === null || !port) return
  const message = Buffer.alloc(16)
  message.writeInt32BE(16, 0)
  message.writeInt32BE(cancelRequestCode, 4)
  message.writeInt32BE(processID, 8)
  message.writeInt32BE(secretKey, 12)
  const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host)
  socket.setTimeout(2_000, () => socket.destroy())
  socket.on('error', () => socket.destroy())
  socket.end(message)
}
