// A proxy to PostgreSQL that sends the same bytes in other pieces, adds messages that a server may
// send at any time, and cuts connections at any byte.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import type { Test } from 'tap'

/** What happens to the bytes of one direction. */
export interface Disturbance {
  /** The length of a piece; 0 leaves pieces as they are. */
  readonly pieceBytes: number
  /** How many turns of the event loop bytes wait for more, to leave together. */
  readonly heldTurns: number
  /** The connection is reset after so many bytes, or ended; never if it is 0. */
  readonly cutAfterBytes: number
  readonly isReset: boolean
}

/** Messages of the server that no statement asked for. */
export interface Flood {
  /** The last one ends the connection, each time that it is ready. */
  readonly type: 'notice' | 'notification' | 'parameter' | 'shutdown'
  /** How many come before each message of the server. */
  readonly count: number
  /** The payload of a notification. */
  readonly payload: string
}

export interface Plan {
  readonly toServer: Disturbance
  readonly toClient: Disturbance
  readonly flood: Flood | undefined
}

export interface ProtocolProxy {
  readonly port: number
  /** Applies a plan to open and new connections; undefined forwards bytes as they are. */
  apply(plan: Plan | undefined): void
}

const headerBytes = 5
/** So many pieces are sent apart. The rest goes as a whole, so that a case ends soon. */
const mostPieces = 64

/** Starts a proxy to the server of `target`, which ends with the test. */
export async function protocolProxy (t: Test, target: string): Promise<ProtocolProxy> {
  const { hostname, port: targetPort } = new URL(target)
  const sockets = new Set<Socket>()
  let plan: Plan | undefined
  let sent = 0

  function link (from: Socket, to: Socket, direction: 'toServer' | 'toClient'): void {
    sockets.add(from)
    let bytes = 0
    let life = sent
    let queue: Buffer[] = []
    let isSending = false
    let isClosed = false
    const frames = new Frames()

    const send = async (): Promise<void> => {
      if (isSending) return
      isSending = true
      while (queue.length > 0) {
        const disturbance = plan?.[direction]
        for (let turns = disturbance?.heldTurns ?? 0; turns > 0; turns--) await turn()
        const all = Buffer.concat(queue)
        queue = []
        if (life !== sent) bytes = 0
        life = sent
        for (const piece of pieces(all, disturbance?.pieceBytes ?? 0)) {
          const left = (disturbance?.cutAfterBytes || Number.POSITIVE_INFINITY) - bytes
          to.write(piece.subarray(0, Math.max(0, Math.min(left, piece.length))))
          bytes += piece.length
          if (piece.length >= left) {
            end(to, disturbance?.isReset ?? true)
            end(from, true)
            return
          }
          if (disturbance?.pieceBytes) await turn()
        }
      }
      isSending = false
      if (isClosed) to.destroySoon()
    }
    from.on('data', (chunk: Buffer) => {
      const flood = direction === 'toClient' ? plan?.flood : undefined
      queue.push(...direction === 'toClient' ? frames.add(chunk, flood) : [chunk])
      void send()
      // A server that has said so reads no further statement.
      if (frames.isEnded) from.destroy()
    })
    from.on('error', () => {
      end(to, true)
    })
    from.on('close', () => {
      sockets.delete(from)
      isClosed = true
      // Bytes that are held still leave.
      if (!isSending) to.destroySoon()
    })
  }

  const server = createServer({ noDelay: true }, client => {
    const upstream = connect({ host: hostname, port: Number(targetPort), noDelay: true })
    link(client, upstream, 'toServer')
    link(upstream, client, 'toClient')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return {
    port: (server.address() as AddressInfo).port,
    apply (next) {
      plan = next
      sent++
    }
  }
}

function end (socket: Socket, isReset: boolean): void {
  if (socket.destroyed) return
  if (!isReset) socket.end()
  else if (socket.connecting || socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}

function* pieces (bytes: Buffer, length: number): Generator<Buffer> {
  const apart = Math.min(bytes.length, length * mostPieces)
  for (let at = 0; at < apart; at += length) yield bytes.subarray(at, Math.min(at + length, apart))
  if (apart < bytes.length) yield bytes.subarray(apart)
}

/** Finds where messages of the server begin, and puts further ones there. */
class Frames {
  #header = Buffer.alloc(0)
  /** The bytes of the present message that are still to come. */
  #left = 0
  /** Whether the server has said that it ends the connection. */
  isEnded = false
  /** Whether the present message says that the connection is ready. */
  #isReady = false

  add (chunk: Buffer, flood: Flood | undefined): Buffer[] {
    const out: Buffer[] = []
    for (let rest = chunk; rest.length > 0;) {
      if (this.#left === 0) {
        if (this.#header.length === 0 && flood !== undefined && flood.type !== 'shutdown')
          out.push(messages(flood))
        const missing = headerBytes - this.#header.length
        this.#header = Buffer.concat([this.#header, rest.subarray(0, missing)])
        out.push(rest.subarray(0, missing))
        rest = rest.subarray(missing)
        if (this.#header.length < headerBytes) break
        this.#left = this.#header.readUInt32BE(1) - 4
        this.#isReady = this.#header.toString('latin1', 0, 1) === 'Z'
        this.#header = Buffer.alloc(0)
      }
      const body = rest.subarray(0, this.#left)
      out.push(body)
      this.#left -= body.length
      rest = rest.subarray(body.length)
      if (this.#left === 0 && this.#isReady && flood?.type === 'shutdown') {
        out.push(messages({ ...flood, count: 1 }))
        this.isEnded = true
        break
      }
    }
    // One packet, as the server may send it.
    return [Buffer.concat(out)]
  }
}

function messages ({ type, count, payload }: Flood): Buffer {
  const one = {
    notice: () => message('N', 'SNOTICE\0VNOTICE\0C00000\0Mflooded\0\0'),
    notification: () =>
      Buffer.concat([Buffer.from('A'), length(4 + 8 + payload.length + 1), Buffer.alloc(4),
        Buffer.from(`tenancy\0${payload}\0`, 'latin1')]),
    shutdown: () => message('E', 'SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0'),
    parameter: () => message('S', 'fuzz.parameter\0value\0')
  }[type]()
  return Buffer.concat(Array.from({ length: count }, () => one))
}

function message (type: string, body: string): Buffer {
  return Buffer.concat([Buffer.from(type), length(body.length), Buffer.from(body, 'latin1')])
}

function length (bodyBytes: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(bodyBytes + 4)
  return bytes
}
