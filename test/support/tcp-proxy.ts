// A proxy between a client and a real server, which can count, delay and break the connection.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { Test } from 'tap'

export interface TcpProxy {
  readonly port: number
  /** The target's URL with the proxy's address in it. */
  readonly url: string
  /**
   * How often a client sent something after an answer: the network round trips of all connections.
   */
  readonly waits: number
  /** How many connections are open. */
  readonly connections: number
  /** How many connections have been opened so far. */
  readonly opened: number
  /** Starts to record what clients send. The returned function returns the record. */
  record(): () => string
  /** Resets the count of round trips to 0. */
  reset(): void
  /** Delays each direction by this many milliseconds; 0 ends it. */
  delay(milliseconds: number): void
  /** Drops bytes in both directions, on old and new connections, without closing them. */
  blackHole(): void
  /** Drops the server's answers. Bytes of clients still arrive. */
  loseAnswers(): void
  /** Ends `blackHole()` and `loseAnswers()`. Dropped bytes stay lost. */
  restore(): void
  /**
   * Holds bytes of the clients on open connections, until the returned function is called. New
   * connections pass.
   */
  hold(): () => void
  /** Transforms what the server sends, chunk by chunk; undefined ends it. */
  tamper(change: ((chunk: Buffer) => Buffer) | undefined): void
  /** Breaks every open connection with a reset. */
  cut(): void
}

/** Returns a proxy to the server of `target`, on its own port, closed when the test ends. */
export async function tcpProxy (t: Test, target: string): Promise<TcpProxy> {
  const { hostname, port: targetPort } = new URL(target)
  const sockets = new Set<Socket>()
  const clients = new Set<Socket>()
  let waits = 0
  let opened = 0
  let latency = 0
  let isBlackHole = false
  let losesAnswers = false
  let tampered: ((chunk: Buffer) => Buffer) | undefined
  const held = new Map<Socket, (() => void)[]>()
  let recorded: Buffer[] | undefined

  const server = createServer({ noDelay: true }, client => {
    opened++
    const upstream = connect({ host: hostname, port: Number(targetPort), noDelay: true })
    let hasAnswer = true
    clients.add(client)
    client.once('close', () => clients.delete(client))
    link(client, upstream, chunk => {
      recorded?.push(chunk)
      if (hasAnswer) waits++
      hasAnswer = false
    })
    link(upstream, client, () => {
      hasAnswer = true
    }, () => losesAnswers)
  })

  function link (
    from: Socket,
    to: Socket,
    seen: (chunk: Buffer) => void,
    isLost: () => boolean = () => false
  ): void {
    sockets.add(from)
    const waiting: (() => void)[] = []
    let due = 0

    // Keeps the order also when the latency changes, because TCP never reorders bytes.
    const later = (work: () => void): void => {
      const now = performance.now()
      due = Math.max(now + latency, due)
      if (waiting.length === 0 && latency === 0) return work()
      waiting.push(work)
      setTimeout(() => {
        waiting.shift()?.()
      }, due - now)
    }
    from.on('data', (chunk: Buffer) => {
      if (isBlackHole || isLost()) return
      seen(chunk)
      inTurn(from, later, () => {
        to.write(tampered === undefined || clients.has(from) ? chunk : tampered(chunk))
      })
    })
    from.on('end', () => {
      inTurn(from, later, () => {
        to.end()
      })
    })
    from.on('error', () => {
      reset(to)
    })
    from.on('close', () => {
      sockets.delete(from)
      inTurn(from, later, () => {
        to.destroySoon()
      })
    })
  }

  // Forwards held bytes before later bytes and before the end of the connection.
  function inTurn (from: Socket, later: (work: () => void) => void, work: () => void): void {
    const kept = held.get(from)
    if (kept === undefined) later(work)
    else kept.push(() => {
        later(work)
      })
  }

  function cut (): void {
    for (const socket of sockets) reset(socket)
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    cut()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const url = new URL(target)
  url.hostname = '127.0.0.1'
  url.port = String(port)
  return {
    port,
    url: url.href,
    get waits () {
      return waits
    },
    get connections () {
      return sockets.size / 2
    },
    get opened () {
      return opened
    },
    record () {
      const chunks: Buffer[] = recorded = []
      return () => Buffer.concat(chunks).toString('latin1')
    },
    reset () {
      waits = 0
    },
    delay (milliseconds) {
      latency = milliseconds
    },
    blackHole () {
      isBlackHole = true
    },
    loseAnswers () {
      losesAnswers = true
    },
    restore () {
      isBlackHole = losesAnswers = false
    },
    tamper (change) {
      tampered = change
    },
    hold () {
      for (const client of clients) held.set(client, [])
      return () => {
        for (const sends of held.values()) for (const send of sends) send()
        held.clear()
      }
    },
    cut
  }
}

// Resetting a socket that is shutting down fails in libuv and leaves its handle open, so that Node
// would never exit.
function reset (socket: Socket): void {
  if (socket.destroyed || socket.connecting || socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}
